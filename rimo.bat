@echo off
rem Opens Rimo in the browser; "rimo.bat train --help" and the like run its other verbs.
cd /d "%~dp0"
rem set RIMO_TORCH=cuda      (or cpu: which PyTorch is installed)
if "%PYTHON%"=="" set PYTHON=python
"%PYTHON%" --version >nul 2>&1
if errorlevel 1 (
  echo Rimo needs Python 3.10 to 3.13: install one from python.org, with "Add to PATH" ticked.
  pause
  exit /b 1
)
if "%~1"=="" ("%PYTHON%" -m lib_rimo ui) else ("%PYTHON%" -m lib_rimo %*)
if errorlevel 1 pause

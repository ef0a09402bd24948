@echo off
rem Opens Rimo in the browser; "rimo.bat train --help" and the like run its other verbs.
cd /d "%~dp0"
rem set RIMO_TORCH=cuda      (or cpu: which PyTorch is installed)
set RUN="%PYTHON%"
if not "%PYTHON%"=="" goto run
rem Asked, since the newest Python may be newer than those that Rimo's libraries are made for.
for %%v in (3.13 3.12 3.11 3.10) do (
  py -%%v --version >nul 2>&1
  if not errorlevel 1 (
    set RUN=py -%%v
    goto run
  )
)
set RUN=python
python --version >nul 2>&1
if not errorlevel 1 goto run
echo Rimo needs Python 3.10 to 3.13: install one from python.org, with "Add to PATH" ticked.
pause
exit /b 1
:run
if "%~1"=="" (%RUN% -m lib_rimo ui) else (%RUN% -m lib_rimo %*)
if errorlevel 1 pause

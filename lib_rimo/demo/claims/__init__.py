"""What the recipe's author says, one claim a module, each measured on the embedded world.

Every claim is a function that draws what it needs in a studio and gives a section of the report.
Whether the claim holds is computed by criteria that the section states.
"""

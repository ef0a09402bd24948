"""The page of options is the declarations' own."""

from lib_rimo.commands.docs import PAGE, options_page


def test_the_page_of_options_is_up_to_date():
    wanted = options_page()
    assert wanted.count("\n| `") > 50
    assert PAGE.read_text(encoding="utf-8") == wanted, "run `python -m lib_rimo docs`"

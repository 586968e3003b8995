"""`ask`: what the tests of a chat ask its handler."""

from tests.chat.processes import run


def test_the_frames_of_an_answer_are_returned_and_any_other_response_is_an_error() -> None:
    code = """
    from winterbourne.chat import Chat
    from winterbourne.local.testing import ask
    frames = ask(Chat(tools=hang, auth="none", scripted_words_per_second=0).handler, "hang, please")
    print([frame["type"] for frame in frames][0], frames[-1]["type"], [f.get("status") for f in frames if "name" in f])
    try:
        ask(Chat(auth="api_key").handler, "Hello")
    except AssertionError as error:
        print(error)
    """
    stream, error = (line for line in run(code).splitlines() if not line.startswith("{"))
    assert stream == "start done ['started', 'timed_out']"
    assert error.startswith("401: ")

"""What an exception of the user's code says, whatever it is made of."""

LONGEST = 400
"""Characters of a message that are shown."""


def described(error: BaseException) -> str:
    """An exception of the user's in one line that can be printed, however it is made."""
    kind = type(error).__name__
    try:
        text = " ".join(str(error).split()).encode(errors="backslashreplace").decode()
    except BaseException as another:
        text = f"its message cannot be shown: {type(another).__name__}"
    text = text if len(text) <= LONGEST else text[:LONGEST] + " ..."
    return f"{kind}: {text}" if text else kind

"""The exceptions of msock. All of them are an `Error`, and also what Python has for the like."""


class Error(Exception):
    """Something about a message or a connection has failed; str() is a sentence that says what.

    `code` is the protocol's word for it, such as "bad-json", "exists" or "busy"; "" without one.
    """

    code: str

    def __init__(self, text: str = "", code: str = "") -> None:
        super().__init__(text)
        self.code = code


class UsageError(Error, ValueError):
    """A call is wrong: nothing was sent."""


class Refused(Error):
    """The server refused the message and keeps nothing of it; or every server would."""


class Unreachable(Error, ConnectionError):
    """No connection could be made, in all attempts; or it has ended, where the server sends."""


class GivenUp(Error, ConnectionError):
    """Connected, but no final answer after all retries: the message is in doubt."""


class LocalError(Error, OSError):
    """This side failed: a file cannot be read, there is no memory, a transform failed."""


class Cancelled(Error):
    """The message was stopped on its way, and is not committed."""


class Timeout(Error, TimeoutError):
    """Sending: the server took the message, but the reply that was wanted did not come in
    time, or cannot be opened.
    Receiving: nothing came in time, and nothing is lost."""

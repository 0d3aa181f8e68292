import pytest

from chandlery.errors import AccessDenied, RegistryError
from chandlery.registry.auth import Answer, Call, Challenge, Request, TokenStore, choose, flow, parse_challenges
from chandlery.registry.credentials import Credentials

ASK = Request("GET", "https://r.example/v2/a/manifests/1")
BEARER = {"WWW-Authenticate": 'Bearer realm="https://auth.example/token",service="r.example",scope="repository:a:pull"'}
SCOPES = ("repository:a:pull",)


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tokens(clock: Clock) -> TokenStore:
    return TokenStore(clock)


def begin(tokens: TokenStore, held: Credentials = Credentials()):
    running = flow(ASK, registry="r.example", scopes=SCOPES, credentials=lambda: held, tokens=tokens)
    return running, next(running)


def header(call: Call, name: str) -> str:
    return dict(call.request.headers).get(name, "")


def finish(running, answer: Answer) -> None:
    with pytest.raises(StopIteration):
        running.send(answer)


def token_answer(token: str, **more: object) -> Answer:
    import json

    return Answer(200, {}, json.dumps({"token": token, **more}).encode())


def test_open_registry_needs_one_request(tokens):
    running, call = begin(tokens)
    assert call.request == ASK
    finish(running, Answer(200, {}))


def test_anonymous_token_is_fetched_and_used(tokens):
    running, _ = begin(tokens)
    call = running.send(Answer(401, BEARER))
    assert call.wants_body
    assert call.request.url == "https://auth.example/token?service=r.example&scope=repository%3Aa%3Apull"
    assert header(call, "Authorization") == ""
    call = running.send(token_answer("t1"))
    assert header(call, "Authorization") == "Bearer t1"
    finish(running, Answer(200, {}))


def test_token_request_carries_the_password(tokens):
    running, _ = begin(tokens, Credentials("me", "pw"))
    call = running.send(Answer(401, BEARER))
    assert header(call, "Authorization") == Credentials("me", "pw").basic


def test_identity_token_is_exchanged_by_post(tokens):
    running, _ = begin(tokens, Credentials(identity_token="refresh-me"))
    call = running.send(Answer(401, BEARER))
    assert call.request.method == "POST"
    assert b"grant_type=refresh_token" in call.request.body
    assert b"refresh_token=refresh-me" in call.request.body
    call = running.send(Answer(200, {}, b'{"access_token": "t2"}'))
    assert header(call, "Authorization") == "Bearer t2"


def test_token_is_reused_until_it_expires(tokens, clock):
    running, _ = begin(tokens)
    running.send(Answer(401, BEARER))
    running.send(token_answer("t1", expires_in=100))
    finish(running, Answer(200, {}))
    _, call = begin(tokens)
    assert header(call, "Authorization") == "Bearer t1"
    clock.now_s = 100
    _, call = begin(tokens)
    assert header(call, "Authorization") == ""


def test_token_that_is_refused_is_replaced(tokens):
    tokens.put("r.example", SCOPES[0], "Bearer old", lifetime_s=100)
    running, call = begin(tokens)
    assert header(call, "Authorization") == "Bearer old"
    running.send(Answer(401, BEARER))
    call = running.send(token_answer("new"))
    assert header(call, "Authorization") == "Bearer new"


def test_second_refusal_is_final(tokens):
    running, _ = begin(tokens)
    running.send(Answer(401, BEARER))
    running.send(token_answer("t"))
    finish(running, Answer(401, BEARER))
    assert tokens.get("r.example", SCOPES[0]) == ""


def test_basic_repeats_with_the_password_and_keeps_it(tokens):
    held = Credentials("me", "pw")
    running, _ = begin(tokens, held)
    call = running.send(Answer(401, {"WWW-Authenticate": 'Basic realm="x"'}))
    assert header(call, "Authorization") == held.basic
    finish(running, Answer(200, {}))
    _, call = begin(tokens, held)
    assert header(call, "Authorization") == held.basic


def test_basic_without_credentials_stops(tokens):
    running, _ = begin(tokens)
    finish(running, Answer(401, {"WWW-Authenticate": 'Basic realm="x"'}))


def test_refused_token_is_access_denied_and_names_the_helper(tokens):
    running, _ = begin(tokens, Credentials(problem="docker-credential-x is not installed"))
    running.send(Answer(401, BEARER))
    with pytest.raises(AccessDenied) as caught:
        running.send(Answer(401, {}, b""))
    assert caught.value.code == "registry.denied"
    assert "docker-credential-x" in caught.value.hint


@pytest.mark.parametrize("realm", ["http://auth.example/t", "file:///etc/passwd", ""])
def test_unsafe_realm_gets_no_credentials(tokens, realm):
    running, _ = begin(tokens, Credentials("me", "pw"))
    with pytest.raises(RegistryError) as caught:
        running.send(Answer(401, {"WWW-Authenticate": f'Bearer realm="{realm}"'}))
    assert caught.value.code == "registry.bad-challenge"


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"token": 5}', b'{"token": "a\\nb"}', b'{"token": "x", "expires_in": [1]}'])
def test_answer_without_a_token_is_refused(tokens, body):
    running, _ = begin(tokens)
    running.send(Answer(401, BEARER))
    with pytest.raises(RegistryError) as caught:
        running.send(Answer(200, {}, body))
    assert caught.value.code == "registry.bad-token"


def test_challenges_are_parsed_whatever_their_form():
    found = parse_challenges('Negotiate a="b", Basic realm="x, y=\\"z\\"" , Bearer realm=https,scope="a b",error="e"')
    assert found == (
        Challenge("negotiate", {"a": "b"}),
        Challenge("basic", {"realm": 'x, y="z"'}),
        Challenge("bearer", {"realm": "https", "scope": "a b", "error": "e"}),
    )
    assert choose(found) == found[2]
    assert choose(()) is None
    assert parse_challenges("garbage") == ()


def test_request_and_credentials_print_no_secret():
    text = repr(Request("GET", "https://h/p?token=s3cret", (("Authorization", "Bearer s3cret"),))) + repr(Credentials("u", "s3cret", "s3cret"))
    assert "s3cret" not in text

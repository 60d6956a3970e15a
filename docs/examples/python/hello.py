"""bob says hello to alice: python3 hello.py [REST URL]. Needs websockets and a running `go run ./dev`."""
import asyncio, json, sys, urllib.request, uuid
import websockets

REST = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8080"
PEOPLE = uuid.UUID("6b1f8e0a-5d0c-4c3e-9a57-21d4f083b603")  # `dev chat -user alice` is the same alice
HEADERS = "additional_headers" if int(websockets.__version__.split(".")[0]) >= 14 else "extra_headers"
alice, bob = str(uuid.uuid5(PEOPLE, "alice")), str(uuid.uuid5(PEOPLE, "bob"))


def rest(path, body=None, token=""):
    request = urllib.request.Request(REST + path, headers={"Authorization": "Bearer " + token, "Content-Type": "application/json"})
    request.data = None if body is None else json.dumps(body).encode()
    return json.load(urllib.request.urlopen(request, timeout=10))


async def wait_for(socket, wanted):
    while True:  # other events may come between: heed what you know, ignore the rest
        event = json.loads(await asyncio.wait_for(socket.recv(), 10))
        if event["type"] in (wanted, "error"):
            print(event["type"], event["data"])
            return event["data"]


async def main():
    tokens = {user: rest("/dev/token", {"user_id": user})["token"] for user in (alice, bob)}
    conversation = rest("/api/v1/conversations", {"type": "direct", "member_ids": [alice]}, tokens[bob])["id"]
    url = rest("/api/v1/gateway", token=tokens[bob])["url"]
    connect = lambda user: websockets.connect(url, **{HEADERS: {"Authorization": "Bearer " + tokens[user]}})
    async with connect(alice) as at_alice, connect(bob) as at_bob:
        await wait_for(at_alice, "connected")
        await wait_for(at_bob, "connected")
        message = {"conversation_id": conversation, "content": "hello", "type": "text", "client_message_id": str(uuid.uuid4())}
        await at_bob.send(json.dumps({"type": "send_message", "id": "1", "data": message}))
        sent = await wait_for(at_bob, "message_sent")
        received = await wait_for(at_alice, "new_message")
    history = rest(f"/api/v1/conversations/{conversation}/messages?limit=1", token=tokens[alice])["messages"]
    assert sent["message_id"] == received["message_id"] == history[-1]["message_id"]
    print("sent, received and in history:", history[-1]["content"])


asyncio.run(main())

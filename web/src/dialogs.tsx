// Beginning a conversation, and who is in it.
import { useState } from "preact/hooks";
import { uuid7, type ID } from "../sdk/src/index.ts";
import { Avatar, Dialog, presenceText } from "./parts.tsx";
import { demo, nameOf, person } from "./people.ts";
import { reason, type Chat, type Session } from "./session.ts";
import { role, say } from "./words.ts";

const field = (e: SubmitEvent, name: string) => String(new FormData(e.currentTarget as HTMLFormElement).get(name) ?? "").trim();

export function NewConversation({ session, onClose }: { session: Session; onClose: () => void }) {
  const [kind, setKind] = useState<"direct" | "group">("direct");
  const [request] = useState(() => uuid7(Date.now())); // pressing twice makes one group
  const [problem, setProblem] = useState("");
  const submit = async (e: SubmitEvent) => {
    e.preventDefault();
    const [who, name] = [field(e, "who"), field(e, "name")];
    try {
      const people = await Promise.all(who.split(kind === "group" ? "," : /$/).map((p) => p.trim()).filter(Boolean).map(person));
      const id = session.begin(kind === "direct" ? await session.rest.direct(people[0]!)
        : await session.rest.group(request, name, people.filter((p) => p !== session.me)));
      onClose(); // first: what is behind a modal dialog cannot take the focus
      void session.show(id);
    } catch (e) {
      setProblem(say("failedCall", reason(e)));
    }
  };
  return (
    <Dialog title={say("newConversation")} onClose={onClose}>
      <form onSubmit={(e) => void submit(e)}>
        <fieldset class="choice">
          {(["direct", "group"] as const).map((k) => (
            <label key={k}><input type="radio" name="kind" checked={kind === k} onChange={() => setKind(k)} /> {say(k)}</label>
          ))}
        </fieldset>
        {kind === "group" && <label>{say("groupName")}<input name="name" required maxLength={255} /></label>}
        <label>{say(kind === "direct" ? "person" : "people")}
          <input name="who" required list="people" autocapitalize="none" autocomplete="off" autofocus />
        </label>
        <datalist id="people">{demo.map((name) => <option key={name} value={name} />)}</datalist>
        {problem && <p role="alert" class="problem">{problem}</p>}
        <div class="row end">
          <button type="button" onClick={onClose}>{say("cancel")}</button>
          <button class="primary">{say("begin")}</button>
        </div>
      </form>
    </Dialog>
  );
}

export function MembersDialog({ session, chat, onClose }: { session: Session; chat: Chat; onClose: () => void }) {
  const [problem, setProblem] = useState("");
  const id = chat.info.id;
  const admin = chat.info.type === "group" && chat.info.role === "admin" && !chat.left;
  const act = async (what: () => Promise<unknown>) => {
    try {
      setProblem("");
      await what();
      if (!chat.left) await session.who(id);
    } catch (e) {
      setProblem(say("failedCall", reason(e)));
    }
  };
  const add = (e: SubmitEvent) => {
    e.preventDefault();
    const [form, who] = [e.currentTarget as HTMLFormElement, field(e, "who")];
    void act(async () => {
      await session.rest.addMember(id, await person(who));
      form.reset();
    });
  };
  const rename = (e: SubmitEvent) => {
    e.preventDefault();
    const name = field(e, "name");
    void act(() => session.rest.rename(id, name));
  };
  const leave = () => void act(async () => {
    await session.rest.removeMember(id, session.me);
    onClose();
    await session.show(undefined);
  });
  return (
    <Dialog title={say("members")} onClose={onClose}>
      {admin && (
        <form onSubmit={rename}>
          <label for="rename">{say("groupName")}</label>
          <div class="row"><input id="rename" name="name" defaultValue={chat.info.name} required maxLength={255} /><button>{say("rename")}</button></div>
        </form>
      )}
      <ul class="members">
        {chat.members?.map((m) => (
          <li key={m.user_id}>
            <Avatar id={m.user_id} name={nameOf(m.user_id)} online={session.there(m.user_id)?.status === "online"} />
            <span>
              <strong>{nameOf(m.user_id)}</strong>
              <small>{memberText(session, m.user_id, m.role === "admin" && chat.info.type === "group")}</small>
            </span>
            {admin && m.user_id !== session.me && (
              <button aria-label={`${say("remove")}: ${nameOf(m.user_id)}`} onClick={() => void act(() => session.rest.removeMember(id, m.user_id))}>{say("remove")}</button>
            )}
          </li>
        ))}
      </ul>
      {admin && (
        <form onSubmit={add}>
          <label for="add">{say("person")}</label>
          <div class="row"><input id="add" name="who" required autocapitalize="none" autocomplete="off" /><button>{say("add")}</button></div>
        </form>
      )}
      {problem && <p role="alert" class="problem">{problem}</p>}
      {chat.info.type === "group" && !chat.left && <button class="danger" onClick={leave}>{say("leave")}</button>}
    </Dialog>
  );
}

function memberText(session: Session, user: ID, admin: boolean): string {
  const parts = [user === session.me ? say("you") : presenceText(session.there(user)), admin ? role("admin") : ""];
  return parts.filter(Boolean).join(" · ");
}

import { useState } from "preact/hooks";
import type { Look } from "./app.tsx";
import { byName, byToken, type Identity } from "./identity.ts";
import { demo } from "./people.ts";
import { reason } from "./session.ts";
import { StatusError } from "../sdk/src/index.ts";
import { say } from "./words.ts";

export function SignIn(props: Look & { onIdentity: (i: Identity) => void }) {
  const [problem, setProblem] = useState("");
  const enter = async (name: string) => {
    if (!name) return;
    try {
      props.onIdentity(await byName("", name));
    } catch (e) {
      setProblem(e instanceof StatusError && e.status === 404 ? say("noDemo") : say("signInFailed", reason(e)));
    }
  };
  const submit = (e: SubmitEvent) => {
    e.preventDefault();
    void enter(String(new FormData(e.currentTarget as HTMLFormElement).get("name") ?? "").trim());
  };
  const submitToken = (e: SubmitEvent) => {
    e.preventDefault();
    const i = byToken(String(new FormData(e.currentTarget as HTMLFormElement).get("token") ?? ""));
    if (i) props.onIdentity(i);
    else setProblem(say("badToken"));
  };
  return (
    <main class="signin">
      <img src="icon.svg" alt="" width="56" height="56" />
      <h1>{say("title")}</h1>
      <p>{say("signInHint")}</p>
      <form onSubmit={submit}>
        <label for="name">{say("yourName")}</label>
        <div class="row">
          <input id="name" name="name" autocomplete="username" autocapitalize="none" required maxLength={64} autofocus />
          <button class="primary">{say("signIn")}</button>
        </div>
      </form>
      <p class="row wrap">
        <span>{say("or")}</span>
        {demo.slice(0, 4).map((name) => <button key={name} onClick={() => void enter(name)}>{name}</button>)}
      </p>
      {problem && <p role="alert" class="problem">{problem}</p>}
      <details>
        <summary>{say("withToken")}</summary>
        <form onSubmit={submitToken}>
          <label for="token">{say("token")}</label>
          <div class="row">
            <input id="token" name="token" type="password" autocomplete="off" required />
            <button>{say("signIn")}</button>
          </div>
        </form>
      </details>
      <footer>
        <button class="plain" onClick={props.onLanguage}>{say("language")}</button>
        <button class="plain" onClick={props.onTheme}>{say("theme")}: {say(props.theme)}</button>
      </footer>
    </main>
  );
}

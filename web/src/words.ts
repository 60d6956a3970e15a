// What the page says, in English and Russian.

export type Language = "en" | "ru";

const en = {
  title: "Switchboard",
  signIn: "Sign in",
  yourName: "Your name",
  signInHint: "A demonstration: whoever says a name is that person. Open a second window as somebody else and talk.",
  or: "or as",
  withToken: "With a token of your own",
  token: "Token (JWT)",
  badToken: "This is not a token that names a user.",
  noDemo: "This server gives no tokens: sign in with one of your own.",
  signInFailed: "Signing in failed: {0}",
  signOut: "Sign out",
  conversations: "Conversations",
  search: "Search",
  searchHint: "Search messages and conversations",
  noConversations: "Nothing here yet. Begin a conversation.",
  newConversation: "New conversation",
  direct: "Direct",
  group: "Group",
  person: "Name of the person",
  people: "Names, with commas between them",
  groupName: "Name of the group",
  begin: "Begin",
  cancel: "Cancel",
  close: "Close",
  back: "Back to conversations",
  you: "You",
  online: "online",
  lastSeen: "last seen {0}",
  offline: "offline",
  typingOne: "{0} is typing…",
  typingMany: "several people are typing…",
  write: "Message",
  send: "Send",
  attach: "Attach a file",
  drop: "Drop the file to send it",
  uploading: "uploading, {0} %",
  uploadFailed: "not uploaded: {0}",
  noMedia: "this server takes no files",
  waiting: "not sent yet",
  sent: "sent",
  delivered: "delivered",
  read: "read",
  readBy: "read by {0} of {1}",
  failed: "not sent: {0}",
  retry: "Try again",
  discard: "Discard",
  image: "Image",
  file: "File",
  openImage: "Open the image",
  imageGone: "The image cannot be shown.",
  older: "Earlier messages",
  newest: "To the newest",
  newMessages: "new",
  beginning: "The beginning of what you can see",
  choose: "Choose a conversation, or begin a new one.",
  members: "Members",
  add: "Add",
  remove: "Remove",
  leave: "Leave the group",
  left: "You are no longer in this conversation.",
  rename: "Rename",
  admin: "admin",
  member: "member",
  inspector: "Inspector",
  frames: "Frames",
  road: "Road",
  roadHint: "Choose a message to see the road it took: the ⋯ beside it.",
  inspect: "Inspect this message",
  clear: "Clear",
  pause: "Pause",
  goOn: "Go on",
  hopCreated: "written by the sender",
  hopWritten: "put on the socket",
  hopTaken: "taken by the gateway, on the log",
  hopSent: "message_sent: stored, ordered, acknowledged",
  hopReceived: "received",
  hopHistory: "read from history",
  hopDelivered: "delivered to {0}",
  hopRead: "read by {0}",
  clockHere: "this device",
  clockServer: "server",
  clockNote: "Differences between two clocks are only as good as the clocks.",
  partition: "partition {0}, generation {1}",
  connecting: "Connecting…",
  syncing: "Fetching what was missed…",
  live: "Connected",
  waitingToConnect: "No connection. Again in {0} s.",
  tryNow: "Now",
  refused: "The server does not let this device in: {0} ({1})",
  again: "Sign in again",
  theme: "Theme",
  auto: "automatic",
  light: "light",
  dark: "dark",
  language: "Язык: русский",
  notify: "Notifications",
  on: "on",
  off: "off",
  pushDenied: "this browser does not allow the page to notify",
  noPush: "this server sends no notifications",
  noPushService: "this browser does not reach its push service",
  found: "Found",
  nothingFound: "Nothing found",
  changeCreated: "the conversation was created",
  changeAdded: "{0} joined",
  changeRemoved: "{0} left",
  changeRole: "{0} is now {1}",
  changeRenamed: "renamed to “{0}”",
  skip: "To the messages",
  failedCall: "That did not work: {0}",
  more: "More",
  from: "{0}:",
};

export type Word = keyof typeof en;

const ru: Record<Word, string> = {
  title: "Switchboard",
  signIn: "Войти",
  yourName: "Ваше имя",
  signInHint: "Это демонстрация: кто назвал имя, тот им и стал. Откройте второе окно под другим именем и поговорите.",
  or: "или как",
  withToken: "Со своим токеном",
  token: "Токен (JWT)",
  badToken: "Это не токен с именем пользователя.",
  noDemo: "Этот сервер не выдаёт токенов: войдите со своим.",
  signInFailed: "Войти не удалось: {0}",
  signOut: "Выйти",
  conversations: "Беседы",
  search: "Поиск",
  searchHint: "Поиск по сообщениям и беседам",
  noConversations: "Здесь пока пусто. Начните беседу.",
  newConversation: "Новая беседа",
  direct: "Личная",
  group: "Группа",
  person: "Имя собеседника",
  people: "Имена через запятую",
  groupName: "Название группы",
  begin: "Начать",
  cancel: "Отмена",
  close: "Закрыть",
  back: "К беседам",
  you: "Вы",
  online: "в сети",
  lastSeen: "в сети {0}",
  offline: "не в сети",
  typingOne: "{0} печатает…",
  typingMany: "несколько человек печатают…",
  write: "Сообщение",
  send: "Отправить",
  attach: "Приложить файл",
  drop: "Отпустите файл, чтобы отправить",
  uploading: "загрузка, {0} %",
  uploadFailed: "не загружено: {0}",
  noMedia: "этот сервер не принимает файлов",
  waiting: "ещё не отправлено",
  sent: "отправлено",
  delivered: "доставлено",
  read: "прочитано",
  readBy: "прочитали {0} из {1}",
  failed: "не отправлено: {0}",
  retry: "Ещё раз",
  discard: "Убрать",
  image: "Изображение",
  file: "Файл",
  openImage: "Открыть изображение",
  imageGone: "Изображение не показать.",
  older: "Более ранние",
  newest: "К последним",
  newMessages: "новые",
  beginning: "Начало того, что вам видно",
  choose: "Выберите беседу или начните новую.",
  members: "Участники",
  add: "Добавить",
  remove: "Исключить",
  leave: "Выйти из группы",
  left: "Вы больше не участвуете в этой беседе.",
  rename: "Переименовать",
  admin: "администратор",
  member: "участник",
  inspector: "Инспектор",
  frames: "Кадры",
  road: "Путь",
  roadHint: "Выберите сообщение, чтобы увидеть его путь: ⋯ рядом с ним.",
  inspect: "Путь этого сообщения",
  clear: "Очистить",
  pause: "Пауза",
  goOn: "Дальше",
  hopCreated: "написано отправителем",
  hopWritten: "передано в сокет",
  hopTaken: "принято шлюзом, записано в журнал",
  hopSent: "message_sent: сохранено, пронумеровано, подтверждено",
  hopReceived: "получено",
  hopHistory: "прочитано из истории",
  hopDelivered: "доставлено: {0}",
  hopRead: "прочитано: {0}",
  clockHere: "это устройство",
  clockServer: "сервер",
  clockNote: "Разность двух часов не точнее самих часов.",
  partition: "раздел {0}, поколение {1}",
  connecting: "Соединение…",
  syncing: "Получаем пропущенное…",
  live: "На связи",
  waitingToConnect: "Нет связи. Снова через {0} с.",
  tryNow: "Сейчас",
  refused: "Сервер не впускает это устройство: {0} ({1})",
  again: "Войти снова",
  theme: "Оформление",
  auto: "как в системе",
  light: "светлое",
  dark: "тёмное",
  language: "Language: English",
  notify: "Уведомления",
  on: "включены",
  off: "выключены",
  pushDenied: "браузер не разрешает странице уведомлять",
  noPush: "этот сервер не присылает уведомлений",
  noPushService: "браузер не достигает своей службы уведомлений",
  found: "Найдено",
  nothingFound: "Ничего не найдено",
  changeCreated: "беседа создана",
  changeAdded: "{0} теперь здесь",
  changeRemoved: "{0} больше не здесь",
  changeRole: "{0} теперь {1}",
  changeRenamed: "новое название: «{0}»",
  skip: "К сообщениям",
  failedCall: "Не получилось: {0}",
  more: "Ещё",
  from: "{0}:",
};

let current: Language = "en";

/** The language of the page: what was chosen, else what the browser prefers. */
export function language(): Language {
  return current;
}

export function speak(l: Language): void {
  current = l;
}

export function preferred(languages: readonly string[]): Language {
  return languages.find((l) => /^(en|ru)\b/.test(l))?.startsWith("ru") ? "ru" : "en";
}

/** A text, with what belongs at {0}, {1}. */
export function say(word: Word, ...parts: (string | number)[]): string {
  return (current === "ru" ? ru : en)[word].replace(/\{(\d)\}/g, (_, i) => String(parts[Number(i)] ?? ""));
}

export function unread(n: number): string {
  const form = new Intl.PluralRules(current).select(n);
  if (current === "en") return `${n} unread`;
  return `${n} ${form === "one" ? "непрочитанное" : "непрочитанных"}`;
}

/** What somebody is in a group; a role that is not known here by its own name. */
export function role(r: string | undefined): string {
  return r === "admin" || r === "member" ? say(r) : (r ?? "");
}

export function members(n: number): string {
  const form = new Intl.PluralRules(current).select(n);
  if (current === "en") return form === "one" ? `${n} member` : `${n} members`;
  return `${n} ${form === "one" ? "участник" : form === "few" ? "участника" : "участников"}`;
}

/** When, as short as the day allows; `at` in Unix seconds. */
export function when(at: number, now = Date.now()): string {
  const date = new Date(at * 1000);
  const today = new Date(now).toDateString() === date.toDateString();
  return new Intl.DateTimeFormat(current, today ? { timeStyle: "short" } : { dateStyle: "short" }).format(date);
}

export function clock(at: number): string {
  return new Intl.DateTimeFormat(current, { timeStyle: "short" }).format(new Date(at * 1000));
}

export function day(at: number): string {
  return new Intl.DateTimeFormat(current, { dateStyle: "long" }).format(new Date(at * 1000));
}

/** A moment to the millisecond; `at` in Unix ms. */
export function moment(at: number): string {
  const d = new Date(at);
  const two = (n: number, width = 2) => String(n).padStart(width, "0");
  return `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}.${two(d.getMilliseconds(), 3)}`;
}

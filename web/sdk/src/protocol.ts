// The words of the client protocol, version 1: docs/protocol.md says what they
// mean. What a server adds later is ignored, so no type here is closed.

/** A UUID in lower-case text. */
export type ID = string;

export type MessageType = "text" | "image" | "file" | "event";

/** What happened to a conversation; it has a place in the order like a message. */
export interface ConversationEvent {
  change: "created" | "member_added" | "member_removed" | "role_changed" | "renamed";
  user_id?: ID;
  name?: string;
  role?: Role;
  members_version?: number;
}

export type Role = "admin" | "member";

/** A durable event. Live changes of a conversation are turned into this form, which they have in history. */
export interface Message {
  /** Empty on a change that was pushed: history alone knows its id. */
  message_id: ID;
  conversation_id: ID;
  /** Dense from 1 within the conversation: this orders, and nothing else does. */
  seq: number;
  sender_id: ID;
  content: string;
  type: MessageType;
  media_url?: string;
  reply_to?: ID;
  /** Unix seconds, for display alone. */
  timestamp: number;
  client_message_id?: ID;
  event?: ConversationEvent;
}

export interface MessageSent {
  client_message_id: ID;
  conversation_id: ID;
  message_id: ID;
  seq: number;
  timestamp: number;
  duplicate: boolean;
}

export interface ConversationUpdated extends Omit<ConversationEvent, "change"> {
  conversation_id: ID;
  seq?: number;
  change: ConversationEvent["change"] | "head";
  head_seq?: number;
  message?: Message;
  timestamp?: number;
}

/** How far somebody has received or read: apply the maximum. */
export interface MessageStatus {
  conversation_id: ID;
  user_id: ID;
  status: "delivered" | "read";
  message_id: ID;
  seq: number;
  timestamp: number;
}

/** To be forgotten after six seconds. */
export interface Typing {
  conversation_id: ID;
  user_id: ID;
  is_typing: boolean;
}

export interface Presence {
  user_id: ID;
  status: "online" | "offline";
  last_seen?: number;
}

export interface Connected {
  session_id: string;
  user_id: ID;
  device_id: string;
  heartbeat_ms: number;
  token_expires_at: number;
  time: number;
  server: string;
  limits?: {
    frame_bytes?: number;
    content_bytes?: number;
    members?: number;
    sends_per_second?: number;
    send_burst?: number;
    typing_interval_ms?: number;
  };
}

export interface ErrorData {
  id?: string;
  client_message_id?: ID;
  code: string;
  message: string;
  temporary: boolean;
  retry_after_ms?: number;
}

/** One frame, in either direction. */
export interface Frame {
  type: string;
  id?: string;
  data?: unknown;
}

export interface Conversation {
  id: ID;
  type: "direct" | "group";
  name: string;
  members_count: number;
  role: Role;
  head_seq: number;
  read_seq: number;
  unread: number;
  last_message?: Message;
  updated_at: number;
}

export interface Member {
  user_id: ID;
  role: Role;
  joined_at: number;
  read_seq: number;
  delivered_seq: number;
}

export interface Page {
  messages: Message[];
  first_seq: number;
  last_seq: number;
  has_more: boolean;
}

export interface SyncAnswer {
  events?: Frame[];
  heads?: { conversation_id: ID; head_seq: number; read_seq: number; large: boolean }[];
  has_more: boolean;
}

/** A piece of a message's content that was looked for; start and end count as strings of JavaScript do. */
export interface Highlight {
  start: number;
  end: number;
  text: string;
}

/** The best first. A page may be short or empty and still have a cursor. */
export interface SearchAnswer {
  results: { message: Message; highlights: Highlight[] }[];
  cursor?: string;
}

/** Of what a device is not notified. */
export interface Mute {
  all: boolean;
  conversation_ids: ID[];
}

/** A device that is notified while its user is nowhere connected. */
export interface Device {
  device_id: string;
  kind: "web_push" | "webhook";
  provider?: string;
  mute: Mute;
  updated_at: number;
}

/** How a device is notified: with what a browser's subscription is, or by a token that the operator's sender knows. */
export type PutPush = { mute?: Mute } & (
  { kind: "web_push"; endpoint: string; keys: { p256dh: string; auth: string } } | { kind: "webhook"; provider?: string; token: string }
);

export interface Uploaded {
  media_id: ID;
  media_url: string;
  type: string;
  size: number;
  width?: number;
  height?: number;
  name?: string;
  thumbnail_url?: string;
  /** A data: URL of a picture of a few pixels. */
  placeholder?: string;
}

/** Turns the live form of a change into the form that it has in history. */
export function eventMessage(u: ConversationUpdated): Message {
  const { conversation_id, seq, timestamp, head_seq: _head, message: _message, ...event } = u;
  return {
    message_id: "", conversation_id, seq: seq ?? 0, sender_id: "", content: "", type: "event",
    timestamp: timestamp ?? 0, event: event as ConversationEvent,
  };
}

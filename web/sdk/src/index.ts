// A Switchboard client: see README.md for how its parts fit together.
export * from "./client.ts";
export * from "./connection.ts";
export * from "./order.ts";
export * from "./outbox.ts";
export * from "./marks.ts";
export * from "./protocol.ts";
export * from "./rest.ts";
export * from "./uuid.ts";

/** Types of client.js. STATE is described in docs/protocol.md. */

export type Status = "queued" | "running" | "ready" | "failed" | "cancelled" | "expired";
export type Phase = "queued" | "counting" | "writing" | "finishing" | "storing" | "done";

export interface Progress {
  rows_done: number;
  rows_total: number | null;
  rows_total_is_estimate: boolean;
  /** From 0 to 1, or null while the total is unknown. */
  fraction: number | null;
  rows_per_second: number | null;
  eta_seconds: number | null;
  queue_position: number | null;
  wait_seconds: number | null;
  /** The queue in which the export waits, if no worker of it is running. */
  unserved_queue: string | null;
}

export interface ExportFile {
  name: string;
  /** In bytes. */
  size: number | null;
  content_type: string;
  sha256: string;
  expires_at: string | null;
  public_until: string | null;
}

/** Each is null if its action does not apply to the present status. */
export interface Urls {
  self: string;
  page: string;
  seen: string | null;
  edit: string | null;
  cancel: string | null;
  retry: string | null;
  delete: string | null;
  download: string | null;
  ticket: string | null;
  ticket_expires_at: string | null;
}

/** One export. Times are ISO 8601 strings. */
export interface State {
  id: string;
  /** Increases with every change of the export. */
  seq: number;
  attempt: number;
  resumed: boolean;
  status: Status;
  phase: Phase;
  file_type: string;
  title: string;
  label: string;
  format: string;
  requested_at: string | null;
  finished_at: string | null;
  took_seconds: number | null;
  progress: Progress;
  worker: { silent_seconds: number; lease_seconds: number } | null;
  file: ExportFile | null;
  error: { code: string; message: string } | null;
  sends_mail: boolean;
  receipt: Record<string, any>;
  urls: Urls;
}

/** Why an export cannot be followed any more. */
export type Ending = "logged_out" | "forbidden" | "not_found";

export interface Listener {
  /** Called with each newer state. */
  changed?(state: State): void;
  /** Called with true when the server has been out of reach for 5 s, and with false when it is back. */
  troubled?(isLost: boolean): void;
  /** The last call. */
  ended?(reason: Ending): void;
}

export interface Subscriber extends Listener {
  /** Called with the id of an export that its owner has deleted. */
  removed?(id: string): void;
}

export interface ConnectionOptions {
  /** The WebSocket URL of all exports of the user. */
  url: string;
  WebSocket: new (url: string) => unknown;
  fetch: (url: string, options: object) => Promise<unknown>;
  /** Returns the CSRF tokens to try with a POST; none are needed beside an API token. */
  tokens: () => string[];
  /** Returns whether the user can see the page: then the server is told that an end was seen. */
  isVisible: () => boolean;
}

/** Follows exports over one WebSocket, and by GET while there is none. */
export class ExportsConnection {
  constructor(options: ConnectionOptions);
  readonly url: string;
  /** Whether messages arrive over the socket; else exports are read by GET. */
  readonly isHeard: boolean;
  /** Follow one export from a known state on. Returns a function that stops following. */
  watch(shown: State, listener: Listener): () => void;
  /** Follow all exports of the user. Returns a function that stops following. */
  subscribe(subscriber: Subscriber): () => void;
  /** Take a state from elsewhere, such as the answer to a POST. */
  learn(state: State): void;
  /** Connect and read at once, because the network or the user may be back. */
  wake(): void;
  /** Tell the listeners at once that the server is out of reach. */
  goOffline(): void;
  /** Close the socket until `wake` is called. */
  suspend(): void;
}

export interface TokenOptions {
  /** The text of an API token. */
  token: string;
  /** By default that of the browser or of Node. */
  WebSocket?: new (url: string, protocols: string[]) => unknown;
  /** By default that of the browser or of Node. */
  fetch?: (url: string, options: object) => Promise<unknown>;
  /** By default false: what a program follows counts as not seen by its user. */
  isVisible?: () => boolean;
}

/** Return a connection to a site, such as "https://site.example", which sends the token to this site alone. */
export function connectTo(site: string, options: TokenOptions): ExportsConnection;

/** Follow one export. The promise has the state in which it ends, and is rejected with an Ending as message. */
export function follow(
  connection: ExportsConnection, state: State, changed?: (state: State) => void,
): Promise<State>;

export function isActive(state: State): boolean;
export function isTerminal(state: State): boolean;
export function isReady(state: State): boolean;
/** Return whether a value has the fields of a state that are relied upon, and addresses of its own site alone. */
export function isState(value: unknown): value is State;
/** Return the value of a progress bar from 0 to 1, or null while the total is unknown. It is 1 only if the file is ready. */
export function barValue(state: State): number | null;
/** Return whole percent, rounded down, or null while the total is unknown. */
export function percentOf(state: State): number | null;

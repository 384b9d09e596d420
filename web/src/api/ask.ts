// The one way to the server: typed answers, and every failure as a Refusal that says what happened in people's words.
import type { Problem } from './types';

/** What a route answered instead of a success; `status` 0: no server answered. */
export class Refusal extends Error {
  constructor(
    readonly status: number,
    readonly problem: Problem,
  ) {
    super(problem.message);
  }
}

export type Asked = Record<string, string | number | boolean | null | undefined | readonly string[]>;

/** '/api/runs?query=…': what is null, undefined or '' is left out; a list repeats its name. */
export function address(path: string, asked: Asked = {}): string {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(asked)) {
    if (value === null || value === undefined || value === '') continue;
    if (typeof value === 'object') value.forEach((one) => search.append(name, one));
    else search.append(name, String(value));
  }
  const text = search.toString();
  return text ? `${path}?${text}` : path;
}

const ask = (path: string, init: RequestInit) => answered(fetch(path, { credentials: 'same-origin', ...init }));

/** What of a Response is needed to read JSON. */
type Answer = Pick<Response, 'ok' | 'status' | 'json'>;

declare global {
  interface Window {
    /** Asked by the head of the page (app/first.js); `answers` by their addresses. */
    askedFirst?: {
      session: Promise<Answer>;
      answers: Record<string, Promise<Answer>>;
    };
  }
}

/** What the head of the page has asked already is taken from there, once. */
function askedAlready(where: string): Promise<Answer> | undefined {
  const answers = window.askedFirst?.answers;
  const found = answers?.[where];
  delete answers?.[where];
  return found && answered(found);
}

/** What was fetched, where that is a success. */
export async function answered<T extends Answer>(asked: Promise<T>): Promise<T> {
  let response: T;
  try {
    response = await asked;
  } catch (cause) {
    if (cause instanceof DOMException && cause.name === 'AbortError') throw cause;
    throw new Refusal(0, { error: 'not connected', message: 'The server does not answer.' } as Problem);
  }
  if (response.ok) return response;
  const problem = (await response.json().catch(() => null)) as Problem | null;
  throw new Refusal(
    response.status,
    problem?.message ? problem : ({ error: 'failed', message: `The server answered ${response.status}.` } as Problem),
  );
}

/** Reads: GET a JSON answer. */
export async function get<T>(path: string, asked?: Asked, signal?: AbortSignal): Promise<T> {
  const where = address(path, asked);
  const response = await (askedAlready(where) ?? ask(where, signal ? { signal } : {}));
  return (await response.json()) as T;
}

/** Reads: GET raw bytes. */
export async function getBytes(path: string, asked?: Asked, signal?: AbortSignal): Promise<ArrayBuffer> {
  const response = await ask(address(path, asked), signal ? { signal } : {});
  return response.arrayBuffer();
}

/** Changes something: POST or PATCH of JSON. An empty answer is undefined. */
export async function send<T>(path: string, body: unknown, method: 'POST' | 'PATCH' = 'POST'): Promise<T> {
  const response = await ask(path, {
    method,
    body: JSON.stringify(body),
    headers: { 'Content-Type': 'application/json', 'X-Hypertuner': '1' },
  });
  return (response.status === 204 ? undefined : await response.json()) as T;
}

/** Lets the browser save what a route answers. */
export function download(path: string, asked?: Asked): void {
  const link = document.createElement('a');
  link.href = address(path, asked);
  link.download = '';
  link.click();
}

/** What to say of an error, to people. */
import { ApiError } from "./api";
import { messages } from "./messages";

const known: Readonly<Record<string, unknown>> = messages.problems;

/** Return one or two sentences: what went wrong, and what to do next. */
export function sayProblem(error: unknown): string {
  if (!(error instanceof ApiError)) return messages.problems.other("internal_error", String(error));
  const said = Object.hasOwn(known, error.code) ? known[error.code] : undefined;
  return typeof said === "string" ? said : messages.problems.other(error.code, error.message);
}

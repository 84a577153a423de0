/** What to say of an error, to people. */
import { messages } from "./messages";

const known: Readonly<Record<string, unknown>> = messages.problems;

/** Return one or two sentences: what went wrong, and what to do next. */
export function sayProblem(error: unknown): string {
  if (!hasCode(error)) return messages.problems.other("internal_error", String(error));
  const said = Object.hasOwn(known, error.code) ? known[error.code] : undefined;
  return typeof said === "string" ? said : messages.problems.other(error.code, error.message);
}

/** Say whether this is an error of REST or of the replica, or a problem that it speaks of. */
function hasCode(error: unknown): error is { code: string; message: string } {
  return typeof error === "object" && error !== null && "code" in error && "message" in error;
}

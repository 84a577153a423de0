/**
 * One note in one editor: loading, saving, and what arrives meanwhile. The replica is what counts; this keeps the editor
 * and the replica the same without losing a keystroke of either side (unsent.ts has the arithmetic).
 *
 * Everything that waits runs in one queue, so that a save never overlaps with what arrives.
 */
import { EditorState, type Extension } from "@codemirror/state";
import { EditorView } from "@codemirror/view";

import { type Dot, type Note, pathOfKey, type Replica, TidenoteError } from "../../sync";
import { fromEditor, type LineEnd, lineEndOf, lineEnds, toEditor } from "./lines";
import { textIn } from "./text";
import { fresh, hasUnsent, receive, save, saved, saveFailed, unsent } from "./unsent";

/**
 * How the note stands; `deleted` and `moved` mean elsewhere, while it was open here. `away`: it is so long that it has
 * to be fetched, and that did not work yet.
 */
export type NoteState = "loading" | "away" | "open" | "absent" | "deleted" | "moved" | "binary";

/** While nothing of the note is in the editor: what stands there is nobody's text. */
const BEFORE: readonly NoteState[] = ["loading", "away", "absent"];

export interface SessionEvents {
  state(state: NoteState): void;
  /** The note that the replica has now, after every change of it; null if it has none. */
  note(note: Note | null): void;
  /** Somebody deleted the note while text was being typed; the text was kept. */
  kept(): void;
  /** The note is called something else by now. */
  moved(path: string): void;
  /** A save did not go well; it is tried again, and nothing more is said until one did. */
  failed(error: unknown): void;
  /** After that, one did. */
  recovered(): void;
}

/** What stands in an editor and not in the replica when its note is let go of. */
export interface Left {
  readonly text: string;
  /** What it is based on. */
  readonly base: readonly Dot[];
  /** What is just being saved; null if nothing is. */
  readonly saving: string | null;
}

/** How long after a keystroke its text is durable at the latest, for a note of usual length. */
const SAVE_AFTER_MS = 300;
const RETRY_AFTER_MS = 3_000;

/** For every so many characters a save waits one more ms: a version holds the whole text. */
const CHARACTERS_PER_MS = 500;

export class NoteSession {
  #state: NoteState = "loading";
  #lineEnd: LineEnd = "\n";
  #queue: Promise<void> = Promise.resolve();
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Whether the person has gone on: what is unsent is still saved, but nothing is shown or told any more. */
  #left = false;
  #ended = false;
  #failing = false;
  /**
   * Whether an input method is composing in the page. Not `view.composing`: that is also true with an EditContext, on
   * Android for most of the time, where CodeMirror copes with changes.
   */
  #composing = false;
  /** The time of the deletion that was spoken of last. */
  #toldOf = 0;
  readonly #unsubscribe: () => void;

  constructor(
    readonly replica: Replica,
    readonly key: string,
    readonly view: EditorView,
    private readonly extensions: Extension,
    private readonly isConnected: () => boolean,
    private readonly events: SessionEvents,
  ) {
    this.#unsubscribe = replica.subscribe(({ keys }) => {
      if (keys.includes(key)) void this.refresh();
    });
    view.contentDOM.addEventListener("compositionstart", () => (this.#composing = true));
    view.contentDOM.addEventListener("compositionend", () => {
      this.#composing = false;
      // What had to wait for it.
      void this.refresh();
    });
    void this.refresh();
  }

  /** Extensions that every editor of a session needs. */
  static extensions(onEdit: () => void): Extension {
    return [
      unsent,
      lineEnds,
      EditorView.updateListener.of((update) => {
        if (update.docChanged && hasUnsent(update.state)) onEdit();
      }),
    ];
  }

  get text(): string {
    return fromEditor(this.view.state.doc.toString(), this.#lineEnd);
  }

  /** Save soon; called at every edit. */
  scheduleSave(): void {
    if (this.#ended) return;
    this.#timer ??= setTimeout(() => void this.flush(), SAVE_AFTER_MS + this.view.state.doc.length / CHARACTERS_PER_MS);
  }

  /** Save what is unsent now; resolves when it is durable in this browser, or was refused. */
  flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    return this.#run(() => this.#save());
  }

  /** Take in what the replica has now. */
  refresh(): Promise<void> {
    return this.#run(() => this.#take());
  }

  /** Write the text again after the note was deleted, or for the first time. */
  revive(text = this.text): Promise<void> {
    return this.#run(async () => {
      await this.replica.put(this.key, text);
      await this.#take();
    });
  }

  /** What would be left if the note was let go of now; null if nothing is unsent. */
  get left(): Left | null {
    if (!hasUnsent(this.view.state)) return null;
    const { base, saving } = this.view.state.field(unsent);
    return { text: this.text, base, saving: saving && fromEditor(saving.text.toString(), this.#lineEnd) };
  }

  /**
   * Let go of the note at once, because its tab goes away.
   *
   * @returns what is unsent; null if nothing is.
   */
  leave(): Left | null {
    const { left } = this;
    clearTimeout(this.#timer);
    this.#unsubscribe();
    this.#ended = true;
    return left;
  }

  /**
   * Save what is unsent and let go of the note.
   *
   * @returns what could not be saved; null if nothing is unsent.
   */
  async end(): Promise<Left | null> {
    this.#left = true;
    this.#unsubscribe();
    await this.flush();
    return this.leave();
  }

  /** Whether what arrives may change the editor: what an input method was composing would stand there twice after it. */
  get #takes(): boolean {
    return !this.#left && !this.#ended && !this.#composing;
  }

  #run(step: () => Promise<void>): Promise<void> {
    this.#queue = this.#queue.then(step).catch((error: unknown) => this.#failed(error));
    return this.#queue;
  }

  #failed(error: unknown): void {
    if (!this.#failing && !this.#left) this.events.failed(error);
    this.#failing = true;
  }

  async #save(): Promise<void> {
    const { view } = this;
    const isText = this.#state !== "loading" && this.#state !== "away" && this.#state !== "binary";
    if (this.#ended || !isText || !hasUnsent(view.state)) return;
    const { base } = view.state.field(unsent);
    const { text } = this;
    view.dispatch(save(view.state));
    let dot: Dot;
    try {
      dot = await this.replica.put(this.key, text, { base, live: this.isConnected() });
    } catch (error) {
      view.dispatch(saveFailed(view.state));
      this.#failed(error);
      if (!this.#left) this.#timer ??= setTimeout(() => void this.flush(), RETRY_AFTER_MS);
      return;
    }
    if (this.#failing && !this.#left) this.events.recovered();
    this.#failing = false;
    // A tab that goes away has put its text aside as it was.
    if (this.#ended) return;
    view.dispatch(saved(view.state, dot));
    if (hasUnsent(view.state)) this.scheduleSave();
  }

  async #take(): Promise<void> {
    const note = await this.replica.get(this.key);
    if (!this.#takes) return;
    if (!note) {
      await this.#gone();
      return;
    }
    const text = await textOf(note, this.replica).catch(unreached);
    if (!this.#takes) return;
    const isBefore = BEFORE.includes(this.#state);
    if (text === undefined) {
      // A text that is open stays: what is typed over it is merged with the one that is still to come.
      if (isBefore) this.#become("away");
      this.events.note(note);
      return;
    }
    if (text === null) {
      // What was being typed goes beside the bytes that somebody put in its place.
      await this.#save();
      this.#become("binary");
    } else if (isBefore) this.#open(text, note.dot);
    else this.#receive(text, note.dot);
    this.#tellOfDeletion(note);
    this.events.note(note);
  }

  /** A deletion beside what was written here and not sent yet: the text stays, and its author hears of it, once. */
  #tellOfDeletion(note: Note): void {
    const deletion = note.pending
      ? note.siblings.find((change) => change.value === null && !change.moved_to)
      : undefined;
    if (deletion && deletion.timestamp !== this.#toldOf) this.events.kept();
    this.#toldOf = deletion?.timestamp ?? this.#toldOf;
  }

  #open(text: string, dot: Dot): void {
    this.#lineEnd = lineEndOf(text);
    const based = unsent.init((state) => fresh(state.doc, [dot]));
    const doc = toEditor(text, this.#lineEnd);
    this.view.setState(EditorState.create({ doc, extensions: [based, this.extensions] }));
    this.#become("open");
  }

  #receive(text: string, dot: Dot): void {
    this.#lineEnd = lineEndOf(text);
    this.view.dispatch(receive(this.view.state, toEditor(text, this.#lineEnd), [dot]));
    this.#become("open");
  }

  /** The note is not there any more, or was never: text that nobody has seen yet outlives that. */
  async #gone(): Promise<void> {
    this.events.note(null);
    if (BEFORE.includes(this.#state)) {
      this.#become("absent");
      return;
    }
    const target = await this.replica.movedTo(this.key);
    if (hasUnsent(this.view.state)) {
      // Its base is the version that was deleted: an edit beside a deletion stays, and follows a rename.
      await this.#save();
    } else if (target === null) {
      this.#become("deleted");
    }
    if (target !== null && this.#state !== "moved") {
      this.#become("moved");
      this.events.moved(pathOfKey(target));
    }
  }

  #become(state: NoteState): void {
    if (this.#state === state) return;
    this.#state = state;
    this.events.state(state);
  }
}

/**
 * Return a note's text; null if its bytes are none.
 *
 * @throws TidenoteError if the bytes cannot be had now.
 */
async function textOf(note: Note, replica: Replica): Promise<string | null> {
  if (!note.blob) return note.text;
  if (!note.key.startsWith("note:")) return null;
  return textIn(await replica.blob(note.blob));
}

function unreached(error: unknown): undefined {
  if (!(error instanceof TidenoteError)) throw error;
}

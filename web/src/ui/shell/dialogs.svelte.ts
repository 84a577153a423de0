/** The dialogs that open from anywhere; the shell shows them. */
import { router } from "../router.svelte";
import { folderOf } from "../notes/tree";

class Dialogs {
  findsNote: boolean = $state(false);
  createsNote: boolean = $state(false);
  /** What the path of a new note begins with. */
  initial: string = $state("");

  /** The folder that is asked about, with its slash; null while none is. */
  folder: string | null = $state(null);
  /** Whether it is to be deleted. */
  deletesFolder: boolean = $state(false);

  quickOpen(): void {
    this.findsNote = true;
  }

  /** Ask for a new note, in the folder of the open one. */
  create(initial = router.route.page === "note" ? folderOf(router.route.argument) : ""): void {
    this.initial = initial;
    this.createsNote = true;
  }

  /** Ask for another path of a folder, or whether to delete it. */
  alterFolder(folder: string, deletes = false): void {
    this.folder = folder;
    this.deletesFolder = deletes;
  }
}

export const dialogs = new Dialogs();

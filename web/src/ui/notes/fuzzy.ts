/** Fuzzy matching of paths: every character of the query in order, the better the closer together. Pure. */

export interface Match<T> {
  readonly item: T;
  readonly score: number;
  /** Where in the text the query's characters are, ascending. */
  readonly places: readonly number[];
}

/** Return the best `limit` items, the best first; all of them, in their order, for an empty query. */
export function fuzzy<T>(query: string, items: readonly T[], textOf: (item: T) => string, limit: number): Match<T>[] {
  const wanted = fold(query).replace(/\s+/g, "");
  if (!wanted) return items.slice(0, limit).map((item) => ({ item, score: 0, places: [] }));
  const matches: Match<T>[] = [];
  for (const item of items) {
    const text = textOf(item);
    const places = placesOf(wanted, text);
    if (places) matches.push({ item, score: scoreOf(places, text), places });
  }
  return matches.sort((a, b) => b.score - a.score).slice(0, limit);
}

/** Find the query in one piece, in a note's own name before its folders; else its characters, from the end. */
function placesOf(wanted: string, text: string): number[] | null {
  const folded = fold(text);
  const name = folded.lastIndexOf("/") + 1;
  const inName = folded.indexOf(wanted, name);
  const whole = inName >= 0 ? inName : folded.indexOf(wanted);
  if (whole >= 0) return Array.from(wanted, (_, index) => whole + index);
  const places: number[] = [];
  let at = folded.length;
  for (let index = wanted.length - 1; index >= 0; index -= 1) {
    at = at > 0 ? folded.lastIndexOf(wanted.charAt(index), at - 1) : -1;
    if (at < 0) return null;
    places.unshift(at);
  }
  return places;
}

/** Runs and beginnings of words count more; long texts a little less. */
function scoreOf(places: readonly number[], text: string): number {
  const name = text.lastIndexOf("/") + 1;
  let score = -text.length / 50;
  places.forEach((place, index) => {
    score += 1;
    if (index > 0 && places[index - 1] === place - 1) score += 6;
    if (place === 0 || /[\s/_.-]/.test(text.charAt(place - 1))) score += 3;
    if (place >= name) score += 1;
    if (place === name) score += 3;
  });
  return score;
}

/** Fold case and accents, one character for one, so that places stay true. */
function fold(text: string): string {
  return Array.from({ length: text.length }, (_, index) => {
    const folded = text.charAt(index).normalize("NFD").charAt(0).toLowerCase();
    return folded.length === 1 ? folded : text.charAt(index);
  }).join("");
}

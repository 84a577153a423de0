/**
 * SHA-256 of bytes. The browser's own where there is one: pages from `http:` other than localhost have no
 * `crypto.subtle`, and it takes everything at once, so that large files are hashed here, piece by piece.
 */

/** Up to how many bytes are given to the browser at once. */
const MAX_AT_ONCE = 32 * 2 ** 20;
const PIECE = 2 ** 20;

/** Return the SHA-256 of bytes as 64 lower-case hex digits. */
export async function sha256Hex(bytes: Blob): Promise<string> {
  // The types say that it is always there; insecure pages know better.
  const subtle = globalThis.crypto.subtle as SubtleCrypto | undefined;
  if (subtle && bytes.size <= MAX_AT_ONCE) {
    return hex(new Uint8Array(await subtle.digest("SHA-256", await bytes.arrayBuffer())));
  }
  const hash = new Sha256();
  for (let start = 0; start < bytes.size; start += PIECE) {
    hash.update(new Uint8Array(await bytes.slice(start, start + PIECE).arrayBuffer()));
  }
  return hex(hash.digest());
}

/** SHA-256 (FIPS 180-4) of bytes that come in pieces. */
export class Sha256 {
  private readonly state = new Uint32Array(INITIAL);
  private readonly block = new Uint8Array(64);
  private readonly words = new Uint32Array(64);
  private filled = 0;
  private length = 0;

  /** Take the next piece. */
  update(bytes: Uint8Array): void {
    this.length += bytes.length;
    for (let start = 0; start < bytes.length;) {
      const piece = bytes.subarray(start, start + 64 - this.filled);
      this.block.set(piece, this.filled);
      this.filled += piece.length;
      start += piece.length;
      if (this.filled === 64) this.compress();
    }
  }

  /** Return the hash; nothing may be added afterwards. */
  digest(): Uint8Array {
    const bits = this.length * 8;
    this.update(Uint8Array.of(0x80));
    while (this.filled !== 56) this.update(Uint8Array.of(0));
    const view = new DataView(this.block.buffer);
    view.setUint32(56, Math.floor(bits / 2 ** 32));
    view.setUint32(60, bits >>> 0);
    this.compress();
    const result = new DataView(new ArrayBuffer(32));
    this.state.forEach((word, index) => {
      result.setUint32(4 * index, word);
    });
    return new Uint8Array(result.buffer);
  }

  private compress(): void {
    const { words, state } = this;
    const view = new DataView(this.block.buffer);
    for (let t = 0; t < 16; t++) words[t] = view.getUint32(4 * t);
    for (let t = 16; t < 64; t++) {
      const w15 = words[t - 15] as number;
      const w2 = words[t - 2] as number;
      const s0 = rotate(w15, 7) ^ rotate(w15, 18) ^ (w15 >>> 3);
      const s1 = rotate(w2, 17) ^ rotate(w2, 19) ^ (w2 >>> 10);
      words[t] = (words[t - 16] as number) + s0 + (words[t - 7] as number) + s1;
    }
    let [a, b, c, d, e, f, g, h] = state as unknown as [number, number, number, number, number, number, number, number];
    for (let t = 0; t < 64; t++) {
      const s1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25);
      const t1 = (h + s1 + ((e & f) ^ (~e & g)) + (ROUND[t] as number) + (words[t] as number)) | 0;
      const s0 = rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22);
      const t2 = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      [h, g, f, e, d, c, b, a] = [g, f, e, (d + t1) | 0, c, b, a, (t1 + t2) | 0];
    }
    [a, b, c, d, e, f, g, h].forEach((word, index) => {
      state[index] = (state[index] as number) + word;
    });
    this.filled = 0;
  }
}

function rotate(word: number, by: number): number {
  return (word >>> by) | (word << (32 - by));
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The first 32 bits of the fractional parts of the square roots of the first 8 primes (FIPS 180-4, 5.3.3). */
const PRIMES = firstPrimes(64);
const INITIAL = PRIMES.slice(0, 8).map((prime) => fraction(prime ** (1 / 2)));
/** The same of the cube roots of the first 64 primes (FIPS 180-4, 4.2.2). */
const ROUND = PRIMES.map((prime) => fraction(Math.cbrt(prime)));

function fraction(root: number): number {
  return Math.floor((root - Math.floor(root)) * 2 ** 32) >>> 0;
}

function firstPrimes(count: number): number[] {
  const found: number[] = [];
  for (let number = 2; found.length < count; number++) {
    if (found.every((prime) => number % prime !== 0)) found.push(number);
  }
  return found;
}

/**
 * Which sequences begin with given keys: a tree of blocks, found by chained hashes. A node stands for `depth` whole blocks;
 * its hash follows from its parent's and its block's keys, and since hashes may collide, parent and keys are compared. So a
 * search reads each key of a prefix once, however many sequences there are. It decides nothing about who may continue.
 *
 * A node lives as long as a sequence has computed its block.
 */
import { invariant } from '@unicorn-exec/tensor';
import type { KvSequence, PrefixKey } from './kv-sequence.js';

export class PrefixNode {
  /** Sequences that can share all blocks up to here. */
  readonly sources = new Set<KvSequence>();
  /** Idle sequences whose last position lies in one of the two blocks behind. */
  readonly ends = new Set<KvSequence>();
  /** Sequences that have computed the block. */
  holders = 0;
  /** Another node of the same hash. */
  next: PrefixNode | undefined;

  constructor(
    readonly parent: PrefixNode | undefined,
    readonly hash: number,
    /** Of its block. */
    readonly keys: readonly PrefixKey[],
  ) {}
}

/** Where a sequence stands in the tree. */
interface Place {
  /** The nodes of its computed whole blocks. */
  readonly path: PrefixNode[];
  /** How many of the first it cannot share any more. */
  unshared: number;
}

export class PrefixIndex {
  /** Before all blocks. Its hash differs from process to process, so that nobody can prepare keys that collide. */
  readonly root = new PrefixNode(undefined, Math.floor(Math.random() * 2 ** 32), []);
  readonly #nodes = new Map<number, PrefixNode>();
  readonly #places = new Map<KvSequence, Place>();

  /** @param canShare whether a sequence still holds what goes on at a position needs of it */
  constructor(
    private readonly blockTokens: number,
    private readonly canShare: (sequence: KvSequence, position: number) => boolean,
  ) {}

  /** The nodes of the leading whole blocks of the first `length` keys that somebody has computed, in order. */
  walk(keys: readonly PrefixKey[], length: number): PrefixNode[] {
    const path: PrefixNode[] = [];
    let node: PrefixNode | undefined = this.root;
    for (let begin = 0; begin + this.blockTokens <= length; begin += this.blockTokens) {
      node = this.#child(node, blockHash(node.hash, keys, begin, this.blockTokens), keys, begin);
      if (!node) break;
      path.push(node);
    }
    return path;
  }

  /** A sequence has computed more, or let go of blocks behind a window. */
  update(sequence: KvSequence): void {
    const { keys, slots, computed } = sequence;
    let place = this.#places.get(sequence);
    if (!place) this.#places.set(sequence, (place = { path: [], unshared: 0 }));
    const { path } = place;
    // Guesses count as computed when they turn out to be right, just before their ids are handed out.
    const blocks = Math.floor(Math.min(computed, keys.length) / this.blockTokens);
    while (path.length < blocks) {
      const begin = path.length * this.blockTokens;
      const parent = path.at(-1) ?? this.root;
      const hash = blockHash(parent.hash, keys, begin, this.blockTokens);
      const node = this.#child(parent, hash, keys, begin) ?? this.#make(parent, hash, keys, begin);
      node.holders++;
      // A state cannot be cut at a position, so nothing of it is shared.
      if (!slots) node.sources.add(sequence);
      path.push(node);
    }
    while (place.unshared < blocks && !this.canShare(sequence, (place.unshared + 1) * this.blockTokens)) {
      path[place.unshared]!.sources.delete(sequence);
      place.unshared++;
    }
  }

  /** A sequence is idle from now on, so that another may continue inside its last block. */
  settle(sequence: KvSequence): void {
    for (const node of this.#lastNodes(this.#places.get(sequence)!)) node.ends.add(sequence);
  }

  /** A sequence has lost its blocks. */
  remove(sequence: KvSequence): void {
    const place = this.#places.get(sequence);
    if (!place) return;
    for (const node of this.#lastNodes(place)) node.ends.delete(sequence);
    for (const node of place.path) {
      node.sources.delete(sequence);
      if (--node.holders === 0) this.#drop(node);
    }
    this.#places.delete(sequence);
  }

  /** @throws UnicornError `internal/invariant` when what is indexed is not what the sequences have computed */
  checkIntegrity(live: Iterable<KvSequence>, idle: ReadonlySet<KvSequence>): void {
    const held = new Map<PrefixNode, number>();
    for (const sequence of [...live, ...idle]) {
      const { computed, keys, slots } = sequence;
      const { path, unshared } = this.#places.get(sequence) ?? { path: [], unshared: 0 };
      const blocks = Math.floor(computed / this.blockTokens);
      const isWhole = idle.has(sequence) ? path.length === blocks : path.length <= blocks;
      invariant(isWhole, 'not the computed blocks are indexed');
      const found = this.walk(keys, computed);
      invariant(
        path.every((node, index) => node === found[index]),
        'a block is indexed elsewhere',
      );
      path.forEach((node, index) => {
        held.set(node, (held.get(node) ?? 0) + 1);
        const shares = !slots && index >= unshared;
        invariant(node.sources.has(sequence) === shares, `block ${index} is shared when it cannot be`);
      });
    }
    let nodes = 0;
    for (const first of this.#nodes.values()) {
      for (let node: PrefixNode | undefined = first; node; node = node.next, nodes++) {
        invariant(held.get(node) === node.holders, 'an indexed block outlived its sequences');
      }
    }
    const places = [...this.#places.keys()];
    const known = new Set([...live, ...idle]);
    invariant(
      places.every((sequence) => known.has(sequence)),
      'an indexed sequence has ended',
    );
    invariant(nodes === held.size, 'a computed block was forgotten');
  }

  #lastNodes({ path }: Place): PrefixNode[] {
    if (path.length === 0) return [this.root];
    return [path.at(-1)!, path.at(-2) ?? this.root];
  }

  #child(
    parent: PrefixNode,
    hash: number,
    keys: readonly PrefixKey[],
    begin: number,
  ): PrefixNode | undefined {
    let node = this.#nodes.get(hash);
    while (node && !(node.parent === parent && equal(node.keys, keys, begin))) node = node.next;
    return node;
  }

  #make(parent: PrefixNode, hash: number, keys: readonly PrefixKey[], begin: number): PrefixNode {
    const node = new PrefixNode(parent, hash, keys.slice(begin, begin + this.blockTokens));
    node.next = this.#nodes.get(hash);
    this.#nodes.set(hash, node);
    return node;
  }

  #drop(node: PrefixNode): void {
    const first = this.#nodes.get(node.hash)!;
    if (first === node) {
      if (node.next) this.#nodes.set(node.hash, node.next);
      else this.#nodes.delete(node.hash);
      return;
    }
    let before = first;
    while (before.next !== node) before = before.next!;
    before.next = node.next;
  }
}

function equal(block: readonly PrefixKey[], keys: readonly PrefixKey[], begin: number): boolean {
  for (let index = 0; index < block.length; index++) if (block[index] !== keys[begin + index]) return false;
  return true;
}

/** 30 bits, which a map finds fastest: of a parent's hash and a block's keys. */
function blockHash(parent: number, keys: readonly PrefixKey[], begin: number, count: number): number {
  let hash = parent | 0;
  let text: string | undefined;
  let ofText = 0;
  for (let index = begin; index < begin + count; index++) {
    const key = keys[index]!;
    if (typeof key === 'number') {
      hash = mix(hash, key);
      continue;
    }
    // The positions of a span have one key.
    if (key !== text) {
      ofText = 0;
      for (let at = 0; at < key.length; at++) ofText = mix(ofText, key.charCodeAt(at));
      text = key;
    }
    hash = mix(hash, ofText);
  }
  return hash >>> 2;
}

/** A multiplication by an odd number near 2^32 / golden ratio spreads differences upwards, the shift downwards. */
function mix(hash: number, value: number): number {
  const product = Math.imul(hash ^ value, 0x9e3779b1);
  return product ^ (product >>> 15);
}

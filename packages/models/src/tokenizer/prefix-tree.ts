/**
 * Values by strings, found where a text goes on with one of them. A radix tree: it has at most two nodes for each string,
 * however long (Morrison 1968, "PATRICIA").
 */
interface Node<T> {
  /** What leads here from the parent. */
  readonly edge: string;
  /** By the first unit of their edges. */
  readonly children: Map<number, Node<T>>;
  value: T | undefined;
}

export class PrefixTree<T> {
  readonly #root: Node<T> = { edge: '', children: new Map(), value: undefined };

  get isEmpty(): boolean {
    return this.#root.children.size === 0;
  }

  /** @param key not empty; a later value replaces an earlier one */
  set(key: string, value: T): void {
    let node = this.#root;
    for (let at = 0; ;) {
      const unit = key.charCodeAt(at);
      const child = node.children.get(unit);
      if (!child) {
        node.children.set(unit, { edge: key.slice(at), children: new Map(), value });
        return;
      }
      const common = commonLength(child.edge, key, at);
      at += common;
      node = common === child.edge.length ? child : split(node, child, common);
      if (at < key.length) continue;
      node.value = value;
      return;
    }
  }

  /** Tells of each key that stands in the text at `start`, the shorter ones first. */
  prefixesAt(text: string, start: number, tell: (value: T, end: number) => void): void {
    let node = this.#root.children.get(text.charCodeAt(start));
    for (let at = start; node; node = node.children.get(text.charCodeAt(at))) {
      const { edge, value } = node;
      if (edge.length > 1 && !text.startsWith(edge, at)) return;
      at += edge.length;
      if (value !== undefined) tell(value, at);
    }
  }
}

function commonLength(edge: string, key: string, at: number): number {
  let length = 1;
  while (length < edge.length && edge.charCodeAt(length) === key.charCodeAt(at + length)) length++;
  return length;
}

/** Puts a node between parent and child, after the first `length` units of the child's edge. */
function split<T>(parent: Node<T>, child: Node<T>, length: number): Node<T> {
  const unit = child.edge.charCodeAt(0);
  const lower: Node<T> = { ...child, edge: child.edge.slice(length) };
  const middle: Node<T> = {
    edge: child.edge.slice(0, length),
    children: new Map([[lower.edge.charCodeAt(0), lower]]),
    value: undefined,
  };
  parent.children.set(unit, middle);
  return middle;
}

/** A graph as text: a line for each value that enters, for each node, and for each output. */
import { formatShape } from '../shape.js';
import type { AttributeValue, Graph, TensorSpec, Value } from './graph.js';

/** `f32[tokens, 576]` */
export function formatSpec(spec: TensorSpec): string {
  return `${spec.dtype}${formatShape(spec.shape)}`;
}

function formatAttribute(value: AttributeValue): string {
  return Array.isArray(value) ? `[${value.join(', ')}]` : String(value);
}

function formatSource(value: Value): string | undefined {
  const { source } = value;
  switch (source.kind) {
    case 'input':
    case 'state':
      return `${source.kind} "${source.name}"`;
    case 'constant':
      return `constant ${source.data.length} elements`;
    case 'weight': {
      const view = source.view;
      const part = view
        ? ` rows ${view.rowStart}+${view.rows} columns ${view.columnStart}+${view.columns} of ${formatSpec(source.stored)}`
        : '';
      return `weight "${source.name}"${part}`;
    }
    case 'node':
      return undefined;
  }
}

/**
 * @example
 * graph "llama"
 *   %0 = input "ids" : i32[tokens]
 *   %2 = embed(ids: %0, table: %1) {scale: 1} : f32[tokens, 64]
 *   output "logits" = %9
 */
export function printGraph(graph: Graph): string {
  const lines = [`graph "${graph.name}"`];
  for (const value of graph.values) {
    const source = formatSource(value);
    if (source !== undefined) lines.push(`  %${value.id} = ${source} : ${formatSpec(value)}`);
  }
  for (const node of graph.nodes) {
    const outputs = node.outputs.map((id) => `%${id}`).join(', ');
    const inputs = Object.entries(node.inputs)
      .map(([name, id]) => `${name}: %${id}`)
      .join(', ');
    const attributes = Object.entries(node.attributes)
      .map(([name, value]) => `${name}: ${formatAttribute(value)}`)
      .join(', ');
    const specs = node.outputs.map((id) => formatSpec(graph.values[id]!)).join(', ');
    const scope = node.scope === undefined ? '' : ` @${node.scope}`;
    lines.push(
      `  ${outputs} = ${node.op}(${inputs})${attributes ? ` {${attributes}}` : ''} : ${specs}${scope}`,
    );
  }
  for (const [name, id] of Object.entries(graph.outputs)) lines.push(`  output "${name}" = %${id}`);
  return `${lines.join('\n')}\n`;
}

/** What a model is: its text side here; configurations, weight names and graph builders beside it. */
export {
  tokenizerFromGguf,
  tokenizerFromJson,
  tokenizerToGguf,
  type DecodeOptions,
  type Detokenizer,
  type EncodeOptions,
  type GgufTokenizerMetadata,
  type TextRange,
  type Tokenizer,
} from './tokenizer/index.js';
export {
  ChatTemplate,
  chatTemplateFromConfig,
  chatTemplateFromGguf,
  conversationFrom,
  conversationFromText,
  type ChatMessage,
  type ChatTemplateFacts,
  type ChatTemplateOptions,
  type ContentPart,
  type Conversation,
  type PromptParts,
} from './chat-template/index.js';
export { openModel, type OpenModelOptions } from './open-model.js';
export { Model, resolveSize, type ModelFacts } from './model.js';
export { matformerKeys, type SamplingDefaults } from './model-facts.js';
export { openTextSide, type TextSide } from './text-side.js';
export type { ElasticSpec, NamedSize } from './elastic.js';
export { configToGguf, modelToGguf, type ModelToGgufOptions } from './to-gguf.js';
export { architectures } from './architecture/index.js';
export type { Architecture, ModelDefinition } from './architecture/architecture.js';
export type { GgufConfig } from './config/gguf.js';
export type { Range } from './config/limits.js';
export { ConfigFields, type FieldLookup } from './config/config-fields.js';
export { attentionShape } from './decoder/decoder-config.js';
export type { AttentionKind, AttentionShape, DecoderConfig, LayerConfig } from './decoder/decoder-config.js';
export { layerOfWeight, type WeightDeclaration } from './decoder/decoder-weights.js';
export type { DecoderStep, KeptLayer } from './decoder/decoder-step.js';
export type { Rope, RopeScaling, RopeSettings } from './decoder/rope-frequencies.js';

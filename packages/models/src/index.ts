/** What a model is: its text side here; configurations, weight names and graph builders beside it. */
export {
  tokenizerFromGguf,
  tokenizerFromJson,
  tokenizerToGguf,
  type DecodeOptions,
  type Detokenizer,
  type EncodeOptions,
  type GgufTokenizerMetadata,
  type Tokenizer,
} from './tokenizer/index.js';
export {
  ChatTemplate,
  chatTemplateFromConfig,
  chatTemplateFromGguf,
  conversationFrom,
  type ChatMessage,
  type ChatTemplateOptions,
  type ContentPart,
  type Conversation,
} from './chat-template/index.js';

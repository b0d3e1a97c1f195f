export {
  ChatTemplate,
  type ChatTemplateFacts,
  type ChatTemplateOptions,
  type PromptParts,
} from './chat-template.js';
export { conversationFromText } from './conversation-text.js';
export { conversationFrom, type ChatMessage, type ContentPart, type Conversation } from './conversation.js';
export { chatTemplateFromConfig, chatTemplateFromGguf } from './template-source.js';

export { fold } from "./fold.js";
export { isKnown, isSafeLink } from "./shapes.js";
export type {
  DataPart,
  DataTypes,
  FilePart,
  KnownPart,
  Message,
  MessagePart,
  OwnPart,
  Part,
  ReasoningPart,
  SourceDocumentPart,
  SourceUrlPart,
  ToolCall,
  ToolPart,
} from "./vocabulary.js";

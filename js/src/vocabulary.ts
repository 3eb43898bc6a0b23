/** The types of an answer's structured parts, named like the AI SDK's UI-message chunks, v1. */

/** The types of the values of `data-…` parts, by the name after `data-`. */
export type DataTypes = Record<string, unknown>;

type Provider = Readonly<Record<string, Readonly<Record<string, unknown>>>>;
type WithProvider = { readonly providerMetadata?: Provider };
type Call = WithProvider & {
  readonly toolCallId: string;
  readonly providerExecuted?: boolean;
  readonly toolMetadata?: Readonly<Record<string, unknown>>;
  readonly dynamic?: boolean;
};
type Input = Call & { readonly toolName: string; readonly title?: string };

export type ReasoningPart = WithProvider & { readonly id: string } & (
    | { readonly type: "reasoning-start" | "reasoning-end" }
    | { readonly type: "reasoning-delta"; readonly delta: string }
  );

export type ToolPart =
  | (Input & { readonly type: "tool-input-start"; readonly inputEncoding?: "json" | "text" })
  | {
      readonly type: "tool-input-delta";
      readonly toolCallId: string;
      readonly inputTextDelta: string;
    }
  | (Input & { readonly type: "tool-input-available"; readonly input: unknown })
  | (Input & {
      readonly type: "tool-input-error";
      readonly input: unknown;
      readonly errorText: string;
    })
  | {
      readonly type: "tool-approval-request";
      readonly approvalId: string;
      readonly toolCallId: string;
      readonly approvalDescriptor?: unknown;
      readonly inputSchemaInput?: unknown;
      readonly signature?: string;
    }
  | (Call & {
      readonly type: "tool-output-available";
      readonly output: unknown;
      readonly preliminary?: boolean;
    })
  | (Call & { readonly type: "tool-output-error"; readonly errorText: string })
  | { readonly type: "tool-output-denied"; readonly toolCallId: string };

/**
 * A source that the answer cites. Its `url` is relative, or has the scheme `http`, `https` or
 * `mailto`.
 */
export type SourceUrlPart = WithProvider & {
  readonly type: "source-url";
  readonly sourceId: string;
  readonly url: string;
  readonly title?: string;
};

export type SourceDocumentPart = WithProvider & {
  readonly type: "source-document";
  readonly sourceId: string;
  readonly mediaType: string;
  readonly title: string;
  readonly filename?: string;
};

/**
 * A file that the model created. Its `url` is relative, or has the scheme `http`, `https`, `data`
 * or `blob`.
 */
export type FilePart = WithProvider & {
  readonly type: "file";
  readonly url: string;
  readonly mediaType: string;
};

/**
 * The application's own data. If an earlier part has the same type and `id`, this part replaces the
 * earlier part's data. A `transient` part is sent, but does not become part of the message.
 */
export type DataPart<Data extends DataTypes = DataTypes> = {
  [Name in keyof Data & string]: {
    readonly type: `data-${Name}`;
    readonly data: Data[Name];
    readonly id?: string;
    readonly transient?: boolean;
  };
}[keyof Data & string];

/** A structured part of a type that this package knows. */
export type KnownPart<Data extends DataTypes = DataTypes> =
  | ReasoningPart
  | ToolPart
  | SourceUrlPart
  | SourceDocumentPart
  | FilePart
  | DataPart<Data>
  | { readonly type: "start-step" | "finish-step" }
  | {
      readonly type: "message-metadata";
      readonly messageMetadata: Readonly<Record<string, unknown>>;
    };

/** An object of the application's own, whose shape this package does not know. */
export type OwnPart = { readonly [key: string]: unknown };

/** A piece of text, or a structured part. `isKnown` recognises structured parts of known types. */
export type Part<Data extends DataTypes = DataTypes> = string | KnownPart<Data> | OwnPart;

/** A tool call as a page shows it. */
export type ToolCall = {
  readonly toolCallId: string;
  readonly state:
    | "input-streaming"
    | "input-available"
    | "approval-requested"
    | "output-available"
    | "output-error"
    | "output-denied";
  readonly title?: string;
  /** The text received so far of an input that is not complete yet. */
  readonly rawInput?: string;
  readonly inputEncoding?: "json" | "text";
  readonly input?: unknown;
  readonly output?: unknown;
  readonly errorText?: string;
  /** True if this output is preliminary, and another output follows. */
  readonly preliminary?: true;
  readonly approval?: {
    readonly id: string;
    readonly descriptor?: unknown;
    readonly inputSchemaInput?: unknown;
    readonly signature?: string;
  };
  readonly providerExecuted?: boolean;
  readonly toolMetadata?: Readonly<Record<string, unknown>>;
  readonly callProviderMetadata?: Provider;
  readonly resultProviderMetadata?: Provider;
} & (
  { readonly type: `tool-${string}` } | { readonly type: "dynamic-tool"; readonly toolName: string }
);

type Shown<P> = P extends unknown ? Omit<P, "transient"> : never;

/** A part of a message as a page shows it. */
export type MessagePart<Data extends DataTypes = DataTypes> =
  | { readonly type: "text"; readonly text: string; readonly state: "streaming" | "done" }
  | ({
      readonly type: "reasoning";
      readonly id: string;
      readonly text: string;
      readonly state: "streaming" | "done";
    } & WithProvider)
  | ToolCall
  | SourceUrlPart
  | SourceDocumentPart
  | FilePart
  | { readonly type: "step-start" }
  | Shown<DataPart<Data>>
  /** An object of the application's own. Show it as text, or not at all. */
  | { readonly type: "data-part"; readonly data: OwnPart };

/** A message as a page shows it: the shape of the AI SDK's `UIMessage`, without its id. */
export interface Message<Data extends DataTypes = DataTypes> {
  readonly parts: readonly MessagePart<Data>[];
  readonly metadata?: Readonly<Record<string, unknown>>;
}

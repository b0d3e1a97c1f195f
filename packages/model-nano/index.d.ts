/** Absolute path of the model, a GGUF file of 25 MB. */
export declare const modelPath: string;

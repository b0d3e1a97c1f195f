"""The special tokens of Unicorn Nano: Gemma's, in Gemma's roles, as the first ids of the vocabulary."""

SPECIAL = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"]
PAD, EOS, BOS, UNK, START_OF_TURN, END_OF_TURN = range(len(SPECIAL))

STOP = [EOS, END_OF_TURN]  # an answer ends with either

VOCABULARY = 8192  # ids in all; small, since two of the model's tables have a row for each

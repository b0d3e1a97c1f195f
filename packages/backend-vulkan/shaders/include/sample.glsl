// Columns of sample's operands, as sampleParameters and sampleControls of @unicorn-exec/tensor name them.

const uint parameterColumns = 7u;
#define TEMPERATURE 0u
#define TOP_P 1u
#define MIN_P 2u
#define TYPICAL_P 3u
#define REPETITION 4u
#define PRESENCE 5u
#define FREQUENCY 6u

const uint controlColumns = 7u;
#define TOP_K 0u
#define SEED_LOW 1u
#define SEED_HIGH 2u
#define POSITION 3u
#define HISTORY_ROW 4u
#define HISTORY_LENGTH 5u
#define PROMPT_LENGTH 6u

// Tokens of the vocabulary that one workgroup of sample-scan takes.
const uint stretchTokens = 2048u;

// In the place of a stretch's best token: a logit of the stretch is NaN or plus infinity.
const int noNumbers = -2;

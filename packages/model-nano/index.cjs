/** Where the bundled model lies; the CommonJS twin of `index.js`. */
'use strict';

exports.modelPath = `${__dirname}/nano.gguf`;

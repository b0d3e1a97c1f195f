/** Where the bundled model lies; the CommonJS twin of `index.js`. */
'use strict';

const { join } = require('node:path');

exports.modelPath = join(__dirname, 'nano.gguf');

#!/usr/bin/env node
// Committed, not built: npm links only the bins that exist at install time.
import { main } from '../dist/index.js';

process.exitCode = await main(process.argv.slice(2));

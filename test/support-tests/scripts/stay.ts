/** Stays when told to, otherwise ends; the code is the second argument. */
const [what, code = '0'] = process.argv.slice(2);
console.log(`told to ${what}`);
if (what === 'stay') setInterval(() => {}, 1_000);
process.exitCode = Number(code);

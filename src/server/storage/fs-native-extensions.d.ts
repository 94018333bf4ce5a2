/** The one function we use of a package that comes without types. */
declare module 'fs-native-extensions' {
  const extensions: {
    /** Locks a whole file, for as long as the descriptor is open; false if somebody has it. */
    tryLock(descriptor: number): boolean;
  };
  export default extensions;
}

declare module 'node:assert/strict' {
  const assert: any
  export default assert
}
declare module 'node:fs/promises' {
  export function readFile (path: string): Promise<Uint8Array<ArrayBuffer>>
}
declare module 'node:module' {
  export function createRequire (from: URL): (name: string) => any
}
declare module 'node:url' {
  export function pathToFileURL (path: string): URL
}

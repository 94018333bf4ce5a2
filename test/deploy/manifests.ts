/**
 * The objects of deploy/kubernetes/, as `kubectl apply -k` would send them, and their types.
 *
 * The overlays use so little of kustomize, resources and images, that it is done here; another field is an error. The
 * types are those of kubernetes-types, which are made from Kubernetes' own description: an object is checked as a
 * literal, so that a field which does not exist is found too.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import ts from 'typescript';
import { parse, parseAllDocuments } from 'yaml';
import * as z from 'zod';

/** The project's folder. */
export const root = path.join(import.meta.dirname, '..', '..');
const FOLDER = path.join(root, 'deploy', 'kubernetes');

/** An object of Kubernetes; the rest of it is for the compiler to check. */
export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string };
  readonly spec: unknown;
}

const kustomization = z.strictObject({
  apiVersion: z.literal('kustomize.config.k8s.io/v1beta1'),
  kind: z.literal('Kustomization'),
  resources: z.array(z.string()).min(1),
  images: z.array(z.strictObject({ name: z.string(), newName: z.string(), newTag: z.string() })).default([]),
});

/** What `kubectl apply -k` of a folder below deploy/kubernetes/ would send. */
export function kustomize(folder: string): Manifest[] {
  const { resources, images } = kustomization.parse(
    parse(readFileSync(path.join(FOLDER, folder, 'kustomization.yaml'), 'utf8')),
  );
  const objects = resources.flatMap((name) =>
    name.endsWith('.yaml') ? manifestsOf(path.join(folder, name)) : kustomize(path.join(folder, name)),
  );
  return objects.map((object) => withImages(object, images) as Manifest);
}

/** The objects of one file; `words` are put in the place of others first. */
export function manifestsOf(file: string, words: Readonly<Record<string, string>> = {}): Manifest[] {
  let text = readFileSync(path.join(FOLDER, file), 'utf8');
  for (const [from, to] of Object.entries(words)) text = text.replaceAll(from, to);
  return parseAllDocuments(text).map((document) => {
    if (document.errors.length > 0) throw new Error(`${file}: ${document.errors.join('; ')}`);
    return document.toJS() as Manifest;
  });
}

function withImages(value: unknown, images: z.output<typeof kustomization>['images']): unknown {
  if (Array.isArray(value)) return value.map((item) => withImages(item, images));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => {
      const image = key === 'image' ? images.find(({ name }) => name === inner) : undefined;
      return [key, image ? `${image.newName}:${image.newTag}` : withImages(inner, images)];
    }),
  );
}

/** What the compiler says against the objects; nothing if each is what Kubernetes describes. */
export function typeErrors(objects: readonly Manifest[]): string[] {
  const lines = objects.map((object, index) => {
    const type = `import('kubernetes-types/${moduleOf(object.apiVersion)}').${object.kind}`;
    return `export const object${index}: ${type} = ${JSON.stringify(object)};`;
  });
  // Where packages are found from, though no such file is there.
  const name = path.join(root, 'test', 'deploy', 'objects-of-kubernetes.ts');
  const options: ts.CompilerOptions = {
    strict: true,
    noEmit: true,
    skipLibCheck: true,
    types: [],
    lib: ['lib.es2022.d.ts'],
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.ESNext,
    moduleResolution: ts.ModuleResolutionKind.Bundler,
  };
  const host = ts.createCompilerHost(options);
  const { getSourceFile, fileExists } = host;
  host.fileExists = (file) => file === name || fileExists(file);
  host.getSourceFile = (file, version) =>
    file === name ? ts.createSourceFile(file, lines.join('\n'), version) : getSourceFile(file, version);
  const program = ts.createProgram([name], options, host);
  return ts.getPreEmitDiagnostics(program).map(({ messageText, start = 0, file }) => {
    const line = file?.getLineAndCharacterOfPosition(start).line ?? 0;
    const { kind = '', metadata } = objects[line] ?? {};
    return `${kind} ${metadata?.name ?? ''}: ${ts.flattenDiagnosticMessageText(messageText, ' ')}`;
  });
}

/** `apps/v1` has a folder of that name; those without a group are in `core/`, and `networking.k8s.io` in `networking/`. */
function moduleOf(apiVersion: string): string {
  const [group = '', version] = apiVersion.includes('/') ? apiVersion.split('/') : ['core', apiVersion];
  return `${group.replace('.k8s.io', '')}/${version}`;
}

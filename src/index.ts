// The library's door: explicit named re-exports, nothing else.

export {
  ERROR_CODES,
  type ErrorCode,
  type ErrorDetails,
  isPyisolateError,
  PyisolateError,
  type RemoteException,
} from "./errors.ts";
export type { ExecuteOptions, Extension, NodeProgress, NodeResult } from "./extension/extension.ts";
export type { NodeInputs } from "./extension/inputs.ts";
export type { LoadOptions } from "./extension/load.ts";
export { ExtensionManager, type ManagerOptions, type Pruned } from "./extension/manager.ts";
export type { ExtensionConfig, Pack } from "./extension/pack.ts";
export type { LoadedPack, NodeInput, NodeOutput, NodeSchema } from "./extension/schema.ts";
export type { EnsuredImage, FoundImage } from "./image/ensure.ts";
export type { BuildProgress } from "./image/progress.ts";
export type { Manifest, PythonVersion } from "./manifest/manifest.ts";
export { readPicture, writePictures } from "./picture/picture.ts";
export { Float, Tuple, type Value } from "./rpc/values.ts";
export type { Dtype, TypedArray } from "./tensor/dtype.ts";
export { Tensor } from "./tensor/tensor.ts";

import { unpack } from "./chromium";

export default unpack;

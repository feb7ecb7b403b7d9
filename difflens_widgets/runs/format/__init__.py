"""``.lens`` files: a run as a zip of JSON, lossless WebP and safetensors. Readers check everything."""

"""What the generated Java needs of Android, LiteRT, the Support Library and the Task Library, as declarations alone.

Written after their public reference, for the compiler only: a call that is not in the real library does not compile.
"""

from __future__ import annotations

from pathlib import Path

# Fully qualified name -> the rest of the declaration.
STUBS = {
    "android.content.Context": """abstract class Context {
        public abstract android.content.res.AssetManager getAssets(); }""",
    "android.content.res.AssetManager": """final class AssetManager {
        public java.io.InputStream open(String name) throws java.io.IOException { return null; }
        public AssetFileDescriptor openFd(String name) throws java.io.IOException { return null; } }""",
    "android.content.res.AssetFileDescriptor": """class AssetFileDescriptor implements java.io.Closeable {
        public java.io.FileDescriptor getFileDescriptor() { return null; }
        public long getStartOffset() { return 0; }
        public long getDeclaredLength() { return 0; }
        public void close() throws java.io.IOException {} }""",
    "android.graphics.Bitmap": """final class Bitmap {
        public void getPixels(int[] pixels, int offset, int stride, int x, int y, int width, int height) {} }""",
    "android.graphics.BitmapFactory": """class BitmapFactory {
        public static Bitmap decodeStream(java.io.InputStream stream) { return null; } }""",
    "org.json.JSONObject": """class JSONObject {
        public JSONObject(String text) {}
        public JSONArray getJSONArray(String name) { return null; }
        public String getString(String name) { return null; }
        public double getDouble(String name) { return 0; } }""",
    "org.json.JSONArray": """class JSONArray {
        public int length() { return 0; }
        public JSONObject getJSONObject(int i) { return null; }
        public double getDouble(int i) { return 0; } }""",
    "android.media.ThumbnailUtils": """class ThumbnailUtils {
        public static android.graphics.Bitmap extractThumbnail(android.graphics.Bitmap source, int width, int height) {
            return null; } }""",
    "org.tensorflow.lite.DataType": "enum DataType { FLOAT32, UINT8 }",
    "org.tensorflow.lite.Tensor": """interface Tensor {
        class QuantizationParams { public float getScale() { return 0; } public int getZeroPoint() { return 0; } }
        DataType dataType();
        int numDimensions();
        int numBytes();
        int numElements();
        int[] shape();
        int[] shapeSignature();
        int index();
        String name();
        QuantizationParams quantizationParams();
        java.nio.ByteBuffer asReadOnlyBuffer(); }""",
    "org.tensorflow.lite.Interpreter": """final class Interpreter implements AutoCloseable {
        public static class Options { public Options setNumThreads(int number) { return this; } }
        public Interpreter(java.io.File model) {}
        public Interpreter(java.io.File model, Options options) {}
        public Interpreter(java.nio.ByteBuffer model) {}
        public Interpreter(java.nio.ByteBuffer model, Options options) {}
        public void run(Object input, Object output) {}
        public void runForMultipleInputsOutputs(Object[] inputs, java.util.Map<Integer, Object> outputs) {}
        public void runSignature(
            java.util.Map<String, Object> inputs, java.util.Map<String, Object> outputs, String signatureKey) {}
        public void runSignature(java.util.Map<String, Object> inputs, java.util.Map<String, Object> outputs) {}
        public void allocateTensors() {}
        public void resizeInput(int index, int[] sizes) {}
        public int getInputTensorCount() { return 0; }
        public int getInputIndex(String operator) { return 0; }
        public Tensor getInputTensor(int index) { return null; }
        public Tensor getInputTensorFromSignature(String inputName, String signatureKey) { return null; }
        public int getOutputTensorCount() { return 0; }
        public int getOutputIndex(String operator) { return 0; }
        public Tensor getOutputTensor(int index) { return null; }
        public Tensor getOutputTensorFromSignature(String outputName, String signatureKey) { return null; }
        public String[] getSignatureKeys() { return null; }
        public String[] getSignatureInputs(String signatureKey) { return null; }
        public String[] getSignatureOutputs(String signatureKey) { return null; }
        public Long getLastNativeInferenceDurationNanoseconds() { return null; }
        public void close() {} }""",
    "org.tensorflow.lite.support.common.FileUtil": """class FileUtil {
        public static java.util.List<String> loadLabels(java.io.InputStream stream) throws java.io.IOException {
            return null; } }""",
    "org.tensorflow.lite.support.common.Operator": "interface Operator<T> { T apply(T value); }",
    "org.tensorflow.lite.support.common.TensorOperator": """interface TensorOperator
        extends Operator<org.tensorflow.lite.support.tensorbuffer.TensorBuffer> {}""",
    "org.tensorflow.lite.support.common.TensorProcessor": """class TensorProcessor {
        public org.tensorflow.lite.support.tensorbuffer.TensorBuffer process(
            org.tensorflow.lite.support.tensorbuffer.TensorBuffer input) { return null; }
        public static class Builder {
            public Builder add(TensorOperator op) { return this; }
            public TensorProcessor build() { return null; } } }""",
    **{
        f"org.tensorflow.lite.support.common.ops.{name}": f"""class {name}
            implements org.tensorflow.lite.support.common.TensorOperator {{
            public {name}({parameters}) {{}}{more}
            public org.tensorflow.lite.support.tensorbuffer.TensorBuffer apply(
                org.tensorflow.lite.support.tensorbuffer.TensorBuffer input) {{ return null; }} }}"""
        for name, parameters, more in (
            ("CastOp", "org.tensorflow.lite.DataType type", ""),
            ("DequantizeOp", "float zeroPoint, float scale", ""),
            ("QuantizeOp", "float zeroPoint, float scale", ""),
            ("NormalizeOp", "float mean, float stddev", "public NormalizeOp(float[] mean, float[] stddev) {}"),
        )
    },
    "org.tensorflow.lite.support.image.ImageOperator": """interface ImageOperator
        extends org.tensorflow.lite.support.common.Operator<TensorImage> {}""",
    "org.tensorflow.lite.support.image.TensorImage": """class TensorImage {
        public static TensorImage fromBitmap(android.graphics.Bitmap bitmap) { return null; }
        public java.nio.ByteBuffer getBuffer() { return null; } }""",
    "org.tensorflow.lite.support.image.ImageProcessor": """class ImageProcessor {
        public TensorImage process(TensorImage image) { return null; }
        public static class Builder {
            public Builder add(ImageOperator op) { return this; }
            public Builder add(org.tensorflow.lite.support.common.TensorOperator op) { return this; }
            public ImageProcessor build() { return null; } } }""",
    "org.tensorflow.lite.support.image.ops.ResizeOp": """class ResizeOp
        implements org.tensorflow.lite.support.image.ImageOperator {
        public enum ResizeMethod { BILINEAR, NEAREST_NEIGHBOR }
        public ResizeOp(int height, int width, ResizeMethod method) {}
        public org.tensorflow.lite.support.image.TensorImage apply(
            org.tensorflow.lite.support.image.TensorImage image) { return null; } }""",
    "org.tensorflow.lite.support.label.Category": "final class Category { public String getLabel() { return null; } }",
    "org.tensorflow.lite.support.label.TensorLabel": """class TensorLabel {
        public TensorLabel(
            java.util.List<String> labels, org.tensorflow.lite.support.tensorbuffer.TensorBuffer buffer) {}
        public java.util.List<Category> getCategoryList() { return null; } }""",
    "org.tensorflow.lite.support.metadata.MetadataExtractor": """class MetadataExtractor {
        public MetadataExtractor(java.nio.ByteBuffer buffer) throws java.io.IOException {}
        public org.tensorflow.lite.support.metadata.schema.TensorMetadata getInputTensorMetadata(int i) { return null; }
        public org.tensorflow.lite.support.metadata.schema.TensorMetadata getOutputTensorMetadata(int i) {
            return null; }
        public java.io.InputStream getAssociatedFile(String name) { return null; } }""",
    "org.tensorflow.lite.support.metadata.schema.TensorMetadata": """final class TensorMetadata {
        public static final class File { public String name() { return null; } }
        public static final class ProcessUnit { public Object options(Object value) { return null; } }
        public ProcessUnit processUnits(int i) { return null; }
        public File associatedFiles(int i) { return null; } }""",
    "org.tensorflow.lite.support.metadata.schema.NormalizationOptions": """final class NormalizationOptions {
        public java.nio.ByteBuffer meanAsByteBuffer() { return null; }
        public java.nio.ByteBuffer stdAsByteBuffer() { return null; } }""",
    "org.tensorflow.lite.support.model.Model": """class Model {
        public static class Options { public static class Builder { public Options build() { return null; } } }
        public static Model createModel(android.content.Context context, String path, Options options)
            throws java.io.IOException { return null; }
        public org.tensorflow.lite.Tensor getInputTensor(int i) { return null; }
        public org.tensorflow.lite.Tensor getOutputTensor(int i) { return null; }
        public java.nio.MappedByteBuffer getData() { return null; }
        public void run(Object[] inputs, java.util.Map<Integer, Object> outputs) {}
        public void close() {} }""",
    "org.tensorflow.lite.support.tensorbuffer.TensorBuffer": """abstract class TensorBuffer {
        public static TensorBuffer createFixedSize(int[] shape, org.tensorflow.lite.DataType type) { return null; }
        public java.nio.ByteBuffer getBuffer() { return null; } }""",
    "org.tensorflow.lite.task.core.BaseOptions": """abstract class BaseOptions {
        public static Builder builder() { return null; }
        public abstract static class Builder {
            public abstract Builder setNumThreads(int number);
            public abstract BaseOptions build(); } }""",
    "org.tensorflow.lite.task.vision.classifier.Classifications": """abstract class Classifications {
        public abstract java.util.List<org.tensorflow.lite.support.label.Category> getCategories(); }""",
    "org.tensorflow.lite.task.vision.classifier.ImageClassifier": """final class ImageClassifier
        implements AutoCloseable {
        public abstract static class ImageClassifierOptions {
            public static Builder builder() { return null; }
            public abstract static class Builder {
                public abstract Builder setBaseOptions(org.tensorflow.lite.task.core.BaseOptions options);
                public abstract ImageClassifierOptions build(); } }
        public static ImageClassifier createFromFileAndOptions(
            android.content.Context context, String path, ImageClassifierOptions options)
            throws java.io.IOException { return null; }
        public java.util.List<Classifications> classify(org.tensorflow.lite.support.image.TensorImage image) {
            return null; }
        public void close() {} }""",
}


def write_stubs(folder: Path) -> None:
    """A folder of sources, as javac's -sourcepath wants it."""
    for name, declaration in STUBS.items():
        path = folder / f"{name.replace('.', '/')}.java"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"package {name.rpartition('.')[0]};\n\npublic {declaration}\n", encoding="utf-8")

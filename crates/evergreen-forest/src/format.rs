//! Detects the format of a model file and calls its parser.

mod catboost;
mod gbdt;
mod lightgbm;
mod limits;
mod xgboost;

use crate::document::{Document, Json, Ubjson};
use crate::{Forest, Format, FormatError, LoadOptions};

/// The format and encoding of a file, as detected.
#[derive(Debug, PartialEq)]
enum FileFormat {
    XgBoostJson,
    XgBoostUbjson,
    LightGbm,
    CatBoost,
    Gbdt,
}

/// Reads a model file of any format.
pub(super) fn read(bytes: &[u8], options: &LoadOptions) -> Result<Forest, FormatError> {
    let found = detect(bytes)?;
    let format = match found {
        FileFormat::XgBoostJson | FileFormat::XgBoostUbjson => Format::XgBoost,
        FileFormat::LightGbm => Format::LightGbm,
        FileFormat::CatBoost => Format::CatBoost,
        FileFormat::Gbdt => Format::Gbdt,
    };
    if let Some(wanted) = options.format
        && wanted != format
    {
        return Err(reject(format!(
            "expected a model of {wanted}, as the options require; found one of {format}"
        )));
    }
    match found {
        FileFormat::XgBoostJson => xgboost::read(&mut Json::new(bytes), bytes.len(), options),
        FileFormat::LightGbm => lightgbm::read(bytes, options),
        FileFormat::CatBoost => catboost::read(&mut Json::new(bytes), bytes.len(), options),
        FileFormat::Gbdt => gbdt::read(&mut Json::new(bytes), bytes.len(), options),
        FileFormat::XgBoostUbjson => xgboost::read(&mut Ubjson::new(bytes), bytes.len(), options),
    }
}

/// Files that are recognised and rejected: their first bytes, and what to do.
const FOREIGN: &[(&[u8], &str)] = &[
    (
        b"binf",
        "this is XGBoost's old binary format; load it with XGBoost 3.0 or older and save it as .json or .ubj",
    ),
    (
        b"bs64",
        "this is XGBoost's old binary format; load it with XGBoost 3.0 or older and save it as .json or .ubj",
    ),
    (
        b"CBM1",
        "this is CatBoost's binary format; save the model with save_model(path, format=\"json\")",
    ),
    (
        b"\xef\xbb\xbf",
        "the file starts with a UTF-8 byte order mark, which the training library does not write; save the model again, \
         or remove the first three bytes",
    ),
    (
        b"booster[",
        "this is the text of XGBoost's dump_model, which rounds numbers; use save_model(\"model.ubj\")",
    ),
    (
        b"\x80",
        "this is a Python pickle; unpickle it and use the model's own save_model",
    ),
    (
        b"PK\x03\x04",
        "this is a zip archive, not a model; use the training library's own save_model",
    ),
    (
        b"\x1f\x8b",
        "this file is compressed with gzip; decompress it first",
    ),
];

fn reject(reason: impl Into<String>) -> FormatError {
    FormatError {
        at: "byte 0".into(),
        reason: reason.into(),
    }
}

fn detect(bytes: &[u8]) -> Result<FileFormat, FormatError> {
    for (start, advice) in FOREIGN {
        if bytes.starts_with(start) {
            return Err(reject(*advice));
        }
    }
    if let [b'{', b'L' | b'l' | b'I' | b'i' | b'U', ..] = bytes {
        return Ok(FileFormat::XgBoostUbjson);
    }
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    match first {
        None => Err(reject("the file is empty")),
        Some(b'{') => detect_json(bytes),
        // XGBoost's dump_model(dump_format="json") is a list of trees.
        Some(b'[') if bytes.windows(8).take(256).any(|word| word == b"\"nodeid\"") => {
            Err(reject(XGBOOST_DUMP))
        }
        Some(b't') if bytes.starts_with(b"tree\n") || bytes.starts_with(b"tree\r\n") => {
            Ok(FileFormat::LightGbm)
        }
        Some(_) => Err(reject(UNKNOWN)),
    }
}

const UNKNOWN: &str = "not a model this engine reads: expected XGBoost JSON or UBJSON, LightGBM text, CatBoost JSON, \
     or JSON of the gbdt crate (XGBoost's old binary format has no mark; re-save such a model as .json or .ubj with \
     XGBoost 3.0 or older)";

const XGBOOST_DUMP: &str =
    "this is the JSON of XGBoost's dump_model, which lacks the objective; use save_model(\"model.ubj\")";

const LIGHTGBM_DUMP: &str = "this is the JSON of LightGBM's dump_model; use save_model(\"model.txt\")";

/// Distinguishes JSON formats by their first characteristic key, usually among the first keys.
fn detect_json(bytes: &[u8]) -> Result<FileFormat, FormatError> {
    let mut found = None;
    let mut document = Json::new(bytes);
    let walked = document.object(|document, key| {
        found = match key {
            "learner" | "Model" | "Config" => Some(FileFormat::XgBoostJson),
            "features_info" | "oblivious_trees" | "ctr_data" | "scale_and_bias" => Some(FileFormat::CatBoost),
            "conf" | "bias" => Some(FileFormat::Gbdt),
            "tree_info" => return Err(document.fault(LIGHTGBM_DUMP)),
            _ => None,
        };
        match found {
            // The format is known: stop reading.
            Some(_) => Err(document.fault("")),
            None => document.skip(),
        }
    });
    match (found, walked) {
        (Some(found), _) => Ok(found),
        (None, Err(fault)) => Err(fault.into()),
        (None, Ok(())) => Err(reject(UNKNOWN)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_detected_from_the_first_bytes() {
        for (bytes, format) in [
            (&b"{L\0\0"[..], FileFormat::XgBoostUbjson),
            (b"{i\x07learner", FileFormat::XgBoostUbjson),
            (b" {\"version\": [3], \"learner\": {}}", FileFormat::XgBoostJson),
            (b"{\"Config\": 1}", FileFormat::XgBoostJson),
            (b"tree\nversion=v4\n", FileFormat::LightGbm),
            (b"tree\r\nversion=v4\r\n", FileFormat::LightGbm),
            (
                b"{\"model_info\": {}, \"oblivious_trees\": []}",
                FileFormat::CatBoost,
            ),
            (b"{\"conf\": {}}", FileFormat::Gbdt),
        ] {
            let text = String::from_utf8_lossy(bytes);
            assert_eq!(detect(bytes).unwrap(), format, "{text}");
        }
    }

    #[test]
    fn other_files_are_rejected_with_a_remedy() {
        for (bytes, word) in [
            (&b""[..], "empty"),
            (b" \n", "empty"),
            (b"tree", "expected XGBoost"),
            (b"{\"a\": 1}", "expected XGBoost"),
            (b"{\"a\"", "expected `:`"),
            (b"CBM1", "save_model"),
            (b"\xef\xbb\xbf{\"learner\": {}}", "byte order mark"),
            (b"booster[0]:\n0:[f0<1]", "dump_model"),
            (b"[\n  { \"nodeid\": 0, \"depth\": 0}\n]", "dump_model"),
            (b"{\"name\": \"tree\", \"tree_info\": []}", "dump_model"),
            (b"\x80\x04", "pickle"),
        ] {
            let error = detect(bytes).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}

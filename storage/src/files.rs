//! Files of rows, on local disk and in object stores: how they are written, and how they get to
//! their place whole or not at all. Which rows go into which file is the caller's business, and
//! so is the name: a file put twice under one name must have the same bytes.

mod avro;
mod directory;
mod encoding;
mod merge;
mod target;
mod writer;

pub use self::avro::avro_refusal;
pub use self::directory::without_temporary;
pub use self::encoding::{Compression, FileEncoding, FileFormat, Statistics};
pub use self::merge::FileMerger;
pub(crate) use self::target::classify;
pub use self::target::{FileTarget, Listed, Provider};
pub use self::writer::FileWriter;

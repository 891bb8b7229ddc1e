//! How files of rows are written.

use parquet::basic::{Compression as Codec, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use serde::{Deserialize, Serialize};

/// Bytes of a Parquet row group at which it is written: it is in memory until then.
const ROW_GROUP_BYTES_MAX: usize = 64 << 20;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum FileFormat {
    /// Apache Parquet.
    Parquet,
    /// A JSON object a line.
    Json,
    /// Comma-separated values under a line of names.
    Csv,
    /// Avro's object container file.
    Avro,
    /// Parquet with the types of a Delta Lake table, whose log is not the file's business.
    Delta,
}

/// How a file's bytes are made smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Compression {
    /// Not at all.
    None,
    /// Snappy: fast; Parquet and Avro only.
    Snappy,
    /// Gzip: what everything reads. Avro has it without gzip's frame, as deflate.
    Gzip,
    /// Zstandard: small and fast.
    Zstd,
}

/// How much a Parquet file says of its values, so that readers can skip parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Statistics {
    /// Nothing.
    None,
    /// Least and greatest value of each column in each row group.
    Chunk,
    /// Of each page, too.
    Page,
}

/// How a file is written. The same rows under the same encoding give the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEncoding {
    /// What it is.
    pub format: FileFormat,
    /// How it is made smaller.
    pub compression: Compression,
    /// Most rows of a Parquet row group.
    pub row_group_rows: usize,
    /// Whether Parquet columns have dictionaries where that helps.
    pub dictionary: bool,
    /// What a Parquet file says of its values.
    pub statistics: Statistics,
}

impl FileFormat {
    /// The formats by their names in SQL.
    pub const ALL: [(&'static str, Self); 5] = [
        ("PARQUET", Self::Parquet),
        ("JSON", Self::Json),
        ("CSV", Self::Csv),
        ("AVRO", Self::Avro),
        ("DELTA", Self::Delta),
    ];

    /// Whether files of it are Parquet files.
    pub fn is_parquet(self) -> bool {
        matches!(self, Self::Parquet | Self::Delta)
    }

    /// How files of it are compressed unless somebody says otherwise.
    pub fn default_compression(self) -> Compression {
        match self {
            Self::Parquet | Self::Delta => Compression::Zstd,
            // Zstandard is younger than many readers of Avro.
            Self::Avro => Compression::Gzip,
            Self::Json | Self::Csv => Compression::None,
        }
    }
}

impl Compression {
    /// The codecs by their names in SQL.
    pub const ALL: [(&'static str, Self); 5] = [
        ("NONE", Self::None),
        ("SNAPPY", Self::Snappy),
        ("GZIP", Self::Gzip),
        ("DEFLATE", Self::Gzip),
        ("ZSTD", Self::Zstd),
    ];
}

impl Statistics {
    /// By their names in SQL.
    pub const ALL: [(&'static str, Self); 3] = [
        ("NONE", Self::None),
        ("CHUNK", Self::Chunk),
        ("PAGE", Self::Page),
    ];
}

impl FileEncoding {
    /// The usual way to write a format.
    pub fn of(format: FileFormat) -> Self {
        Self {
            format,
            compression: format.default_compression(),
            row_group_rows: 1 << 20,
            dictionary: true,
            statistics: Statistics::Page,
        }
    }

    /// What files of it end with.
    pub fn extension(&self) -> &'static str {
        match (self.format, self.compression) {
            (FileFormat::Parquet | FileFormat::Delta, _) => "parquet",
            (FileFormat::Avro, _) => "avro",
            (FileFormat::Json, Compression::Gzip) => "jsonl.gz",
            (FileFormat::Json, Compression::Zstd) => "jsonl.zst",
            (FileFormat::Json, _) => "jsonl",
            (FileFormat::Csv, Compression::Gzip) => "csv.gz",
            (FileFormat::Csv, Compression::Zstd) => "csv.zst",
            (FileFormat::Csv, _) => "csv",
        }
    }

    /// What the Parquet writer is told.
    pub(crate) fn parquet(&self) -> WriterProperties {
        let codec = match self.compression {
            Compression::None => Codec::UNCOMPRESSED,
            Compression::Snappy => Codec::SNAPPY,
            Compression::Gzip => Codec::GZIP(parquet::basic::GzipLevel::default()),
            Compression::Zstd => Codec::ZSTD(ZstdLevel::default()),
        };
        let statistics = match self.statistics {
            Statistics::None => EnabledStatistics::None,
            Statistics::Chunk => EnabledStatistics::Chunk,
            Statistics::Page => EnabledStatistics::Page,
        };
        WriterProperties::builder()
            .set_compression(codec)
            .set_max_row_group_row_count(Some(self.row_group_rows))
            .set_max_row_group_bytes(Some(ROW_GROUP_BYTES_MAX))
            .set_dictionary_enabled(self.dictionary)
            .set_statistics_enabled(statistics)
            .set_created_by("kappa".into())
            .build()
    }
}

//! Functions of numbers, where KSQL's are not DataFusion's.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Decimal256Array};
use arrow::compute::kernels::cmp;
use arrow::compute::kernels::zip::zip;
use arrow::compute::{cast, is_null, or, prep_null_mask_filter};
use arrow::datatypes::{DECIMAL256_MAX_PRECISION, DataType, Decimal256Type, i256};
use datafusion::common::Result;
use datafusion::logical_expr::ScalarUDF;

use super::native::{Call, Get, Native, Overload, Param, takes};

const INT: fn(&[DataType]) -> DataType = |_| DataType::Int32;
const BIGINT: fn(&[DataType]) -> DataType = |_| DataType::Int64;
const DOUBLE: fn(&[DataType]) -> DataType = |_| DataType::Float64;
const SAME: fn(&[DataType]) -> DataType = |types| types[0].clone();

pub(super) fn all() -> Vec<ScalarUDF> {
    use Param::{BigInt, Bytes, Date, Decimal, Double, Int, String, Time, Timestamp};
    static ROUND: &[Overload] = &[
        takes(&[BigInt], BIGINT, |call| Ok(Arc::clone(&call.args[0]))),
        takes(&[Double], BIGINT, |call| {
            let value = call.double(0);
            Ok(call.bigints(|row| Some(rounded(value.get(row)?, 0, Rounding::Half) as i64)))
        }),
        takes(&[Double, Int], DOUBLE, |call| {
            to_places(call, Rounding::Half)
        }),
        takes(&[Decimal], whole, |call| {
            decimal_to_places(call, Rounding::Half)
        }),
        takes(&[Decimal, Int], SAME, |call| {
            decimal_to_places(call, Rounding::Half)
        }),
    ];
    static TRUNC: &[Overload] = &[
        takes(&[BigInt], BIGINT, |call| Ok(Arc::clone(&call.args[0]))),
        takes(&[Double], BIGINT, |call| {
            let value = call.double(0);
            Ok(call.bigints(|row| Some(value.get(row)?.trunc() as i64)))
        }),
        takes(&[Double, Int], DOUBLE, |call| {
            to_places(call, Rounding::TowardsZero)
        }),
        takes(&[Decimal], whole, |call| {
            decimal_to_places(call, Rounding::TowardsZero)
        }),
        takes(&[Decimal, Int], SAME, |call| {
            decimal_to_places(call, Rounding::TowardsZero)
        }),
    ];
    static SIGN: &[Overload] = &[takes(&[Double], INT, |call| {
        let value = call.double(0);
        Ok(call.ints(|row| {
            let value = value.get(row)?;
            Some(i32::from(value > 0.0) - i32::from(value < 0.0))
        }))
    })];
    static LN: &[Overload] = &[takes(&[Double], DOUBLE, |call| {
        let value = call.double(0);
        Ok(call.doubles(|row| value.get(row).map(f64::ln)))
    })];
    static LOG: &[Overload] = &[
        takes(&[Double], DOUBLE, |call| {
            let value = call.double(0);
            Ok(call.doubles(|row| value.get(row).map(f64::ln)))
        }),
        takes(&[Double, Double], DOUBLE, |call| {
            let (base, value) = (call.double(0), call.double(1));
            Ok(call.doubles(|row| {
                let (base, value) = (base.get(row)?, value.get(row)?);
                let is_base = base > 0.0 && base != 1.0;
                Some(if is_base {
                    value.ln() / base.ln()
                } else {
                    f64::NAN
                })
            }))
        }),
    ];
    static POWER: &[Overload] = &[takes(&[Double, Double], DOUBLE, |call| {
        let (base, exponent) = (call.double(0), call.double(1));
        Ok(call.doubles(|row| Some(base.get(row)?.powf(exponent.get(row)?))))
    })];
    static GEO_DISTANCE: &[Overload] = &[
        takes(&[Double, Double, Double, Double], DOUBLE, geo_distance),
        takes(
            &[Double, Double, Double, Double, String],
            DOUBLE,
            geo_distance,
        ),
    ];
    macro_rules! extreme {
        ($pick:expr) => {
            &[
                takes(&[Int, Int], SAME, $pick).variadic(),
                takes(&[BigInt, BigInt], SAME, $pick).variadic(),
                takes(&[Decimal, Decimal], SAME, $pick)
                    .variadic()
                    .unify(same_decimal),
                takes(&[Double, Double], SAME, $pick).variadic(),
                takes(&[String, String], SAME, $pick).variadic(),
                takes(&[Bytes, Bytes], SAME, $pick).variadic(),
                takes(&[Date, Date], SAME, $pick).variadic(),
                takes(&[Time, Time], SAME, $pick).variadic(),
                takes(&[Timestamp, Timestamp], SAME, $pick).variadic(),
            ]
        };
    }
    static GREATEST: &[Overload] = extreme!(|call| extreme(call, |a, b| cmp::gt(&a, &b)));
    static LEAST: &[Overload] = extreme!(|call| extreme(call, |a, b| cmp::lt(&a, &b)));
    vec![
        Native::create("round", ROUND),
        Native::create("trunc", TRUNC),
        Native::create("sign", SIGN),
        Native::create("ln", LN),
        Native::create("log", LOG),
        Native::create("power", POWER),
        Native::create("geo_distance", GEO_DISTANCE),
        Native::create("greatest", GREATEST),
        Native::create("least", LEAST),
    ]
}

/// The decimal without a fraction that holds the whole part of another.
fn whole(types: &[DataType]) -> DataType {
    match types[0] {
        DataType::Decimal128(precision, scale) => {
            DataType::Decimal128(precision.saturating_sub(scale.unsigned_abs()).max(1), 0)
        }
        DataType::Decimal256(precision, scale) => {
            DataType::Decimal256(precision.saturating_sub(scale.unsigned_abs()).max(1), 0)
        }
        ref other => other.clone(),
    }
}

/// The narrowest decimal that holds all of some.
fn same_decimal(types: Vec<DataType>) -> Option<Vec<DataType>> {
    let (mut before, mut behind) = (0, 0);
    for of in &types {
        match of {
            DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
                let scale = u8::try_from(*scale).ok()?;
                before = before.max(precision.saturating_sub(scale));
                behind = behind.max(scale);
            }
            // A NULL among them.
            DataType::Null => {}
            _ => return None,
        }
    }
    let precision = before.checked_add(behind)?;
    let common = crate::types::SqlType::Decimal {
        precision,
        scale: behind,
    };
    (1..=DECIMAL256_MAX_PRECISION)
        .contains(&precision)
        .then(|| vec![common.to_arrow(); types.len()])
}

/// The row's value for which `wins` says so over all others; NULLs take no part.
fn extreme(
    call: &Call<'_>,
    wins: impl Fn(ArrayRef, ArrayRef) -> std::result::Result<BooleanArray, arrow::error::ArrowError>,
) -> Result<ArrayRef> {
    let mut best = Arc::clone(&call.args[0]);
    for next in &call.args[1..] {
        let better = wins(Arc::clone(next), Arc::clone(&best))?;
        let better = match better.null_count() {
            0 => better,
            // A comparison with NULL: the next is better where it is the one that is there.
            _ => or(&prep_null_mask_filter(&better), &is_null(&best)?)?,
        };
        best = zip(&better, next, &best)?;
    }
    Ok(best)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Rounding {
    /// To the nearest; a half goes towards the larger.
    Half,
    TowardsZero,
}

fn to_places(call: &Call<'_>, rounding: Rounding) -> Result<ArrayRef> {
    let (value, places) = (call.double(0), call.int(1));
    Ok(call.doubles(|row| Some(rounded(value.get(row)?, places.get(row)?, rounding))))
}

/// `value` with so many digits behind the point, of the digits that it is written with: 1.005 is a
/// little less than that, and still rounds to 1.01.
fn rounded(value: f64, places: i32, rounding: Rounding) -> f64 {
    if !value.is_finite() || value == 0.0 {
        return value;
    }
    let text = format!("{:e}", value.abs());
    let Some((mantissa, exponent)) = text.split_once('e') else {
        return value;
    };
    let digits: Vec<u8> = mantissa
        .bytes()
        .filter(u8::is_ascii_digit)
        .map(|d| d - b'0')
        .collect();
    let Ok(exponent) = exponent.parse::<i64>() else {
        return value;
    };
    // How many of the digits stay.
    let kept = exponent + 1 + i64::from(places);
    if kept >= digits.len() as i64 {
        return value;
    }
    let next = usize::try_from(kept)
        .ok()
        .map(|at| (digits[at], digits[at + 1..].iter().any(|d| *d > 0)));
    let up = rounding == Rounding::Half
        && match next {
            None => false,
            Some((5, more)) => more || value > 0.0,
            Some((digit, _)) => digit > 5,
        };
    let mut number: i128 = 0;
    for digit in &digits[..usize::try_from(kept).unwrap_or(0)] {
        number = number * 10 + i128::from(*digit);
    }
    number += i128::from(up);
    let magnitude = format!("{number}e{}", -i64::from(places))
        .parse()
        .unwrap_or(value.abs());
    if value < 0.0 && magnitude != 0.0 {
        -magnitude
    } else {
        magnitude
    }
}

fn decimal_to_places(call: &Call<'_>, rounding: Rounding) -> Result<ArrayRef> {
    let (DataType::Decimal128(_, scale) | DataType::Decimal256(_, scale)) =
        call.args[0].data_type()
    else {
        return datafusion::common::internal_err!("no decimal");
    };
    let scale = i32::from(*scale);
    let wide = cast(
        &call.args[0],
        &DataType::Decimal256(DECIMAL256_MAX_PRECISION, scale as i8),
    )?;
    let value = wide.as_primitive::<Decimal256Type>();
    let result: Decimal256Array = (0..call.rows)
        .map(|row| {
            let value = value.is_valid(row).then(|| value.value(row))?;
            let places = match call.args.len() {
                2 => call.int(1).get(row)?,
                _ => 0,
            };
            decimal_rounded(value, scale, places, rounding)
        })
        .collect();
    let result = result.with_precision_and_scale(DECIMAL256_MAX_PRECISION, scale as i8)?;
    Ok(cast(&result, call.returns)?)
}

/// A decimal's digits, of which `scale` are behind the point, with zeros beyond `places`.
fn decimal_rounded(value: i256, scale: i32, places: i32, rounding: Rounding) -> Option<i256> {
    let dropped = scale.checked_sub(places)?;
    if dropped <= 0 {
        return Some(value);
    }
    let Some(unit) = i256::from_i128(10).checked_pow(dropped as u32) else {
        return Some(i256::ZERO);
    };
    let whole = value.checked_div(unit)?;
    let rest = value.checked_sub(whole.checked_mul(unit)?)?;
    let twice = rest.checked_mul(i256::from_i128(2))?;
    let step = match rounding {
        Rounding::Half if twice >= unit => i256::ONE,
        Rounding::Half if twice < unit.checked_neg()? => i256::MINUS_ONE,
        _ => i256::ZERO,
    };
    whole.checked_add(step)?.checked_mul(unit)
}

/// Along a great circle of the earth, in kilometres or, as the unit says, miles.
fn geo_distance(call: &Call<'_>) -> Result<ArrayRef> {
    const EARTH_KM: f64 = 6371.0;
    const EARTH_MILES: f64 = 3959.0;
    Ok(call.doubles(|row| {
        // Without a unit it is kilometres, and a NULL is no unit.
        let unit = match call.args.len() {
            5 => call.string(4).get(row).unwrap_or("KM"),
            _ => "KM",
        };
        let radius = match unit.to_ascii_uppercase().as_str() {
            "KM" | "KILOMETER" | "KILOMETERS" | "KILOMETRE" | "KILOMETRES" => EARTH_KM,
            "MI" | "MILE" | "MILES" => EARTH_MILES,
            _ => return None,
        };
        let (lat1, lon1) = (call.double(0).get(row)?, call.double(1).get(row)?);
        let (lat2, lon2) = (call.double(2).get(row)?, call.double(3).get(row)?);
        let on_earth = |lat: f64, lon: f64| lat.abs() <= 90.0 && lon.abs() <= 180.0;
        if !on_earth(lat1, lon1) || !on_earth(lat2, lon2) {
            return None;
        }
        let half_lat = ((lat2 - lat1).to_radians() / 2.0).sin();
        let half_lon = ((lon2 - lon1).to_radians() / 2.0).sin();
        let across = lat1.to_radians().cos() * lat2.to_radians().cos();
        let a = half_lat.powi(2) + half_lon.powi(2) * across;
        Some(2.0 * radius * a.sqrt().asin())
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_round_towards_the_larger() {
        let round = |value, places| rounded(value, places, Rounding::Half);
        assert_eq!(round(1.5, 0), 2.0);
        assert_eq!(round(-1.5, 0), -1.0);
        assert_eq!(round(-1.7, 0), -2.0);
        assert_eq!(round(1.005, 2), 1.01);
        assert_eq!(round(12345.678, -1), 12350.0);
        assert_eq!(round(1.7, -1), 0.0);
        assert_eq!(round(0.6, 0), 1.0);
        assert_eq!(round(0.04, 1), 0.0);
        assert_eq!(rounded(-12345.678, 1, Rounding::TowardsZero), -12345.6);
    }

    #[test]
    fn decimals_keep_their_scale() {
        let of = i256::from_i128;
        let round = |value, places| decimal_rounded(of(value), 3, places, Rounding::Half);
        assert_eq!(round(1235, 2), Some(of(1240)));
        assert_eq!(round(-1235, 2), Some(of(-1230)));
        assert_eq!(round(-1236, 2), Some(of(-1240)));
        assert_eq!(round(1235, 5), Some(of(1235)));
        assert_eq!(round(1_500, -3), Some(of(0)));
    }
}

//! Patterns by examples, most of them ksqlDB's own or checked against Java 17.

use super::*;

fn ms(pattern: &str, text: &str) -> Result<i64, String> {
    Pattern::compile(pattern).unwrap().parse(text, Zone::UTC)
}

fn text(pattern: &str, ms: i64, zone: &str) -> String {
    Pattern::compile(pattern)
        .unwrap()
        .format(ms, zone.parse().unwrap())
        .unwrap()
}

const DAY: i64 = 86_400_000;

#[test]
fn ksqldb_cases_are_read() {
    for (pattern, text, expected) in [
        (
            "yyyy-MM-dd'T'HH:mm:ssX",
            "2018-05-11T21:58:33Z",
            1_526_075_913_000,
        ),
        (
            "yyyy-MM-dd'T'HH:mm:ssX",
            "2020-05-11T21:58:33z",
            1_589_234_313_000,
        ),
        (
            "yyyy-MM-dd'T'HH:mm:ss",
            "2019-05-11T21:58:33",
            1_557_611_913_000,
        ),
        (
            "yyyy-MM-dd'T'HH:mm:ss zzz",
            "2018-05-11T21:58:33 PST",
            1_526_101_113_000,
        ),
        (
            "yyyy-MM-dd'T'HH:mm:ss.SX",
            "2019-08-27T13:31:09.2+0000",
            1_566_912_669_200,
        ),
        (
            "yy-MM-dd HH:mm:ssX",
            "10-04-19 12:00:17Z",
            1_271_678_417_000,
        ),
        ("yyyy-MM-dd'Lit'", "2018-05-11Lit", 17_662 * DAY),
        ("dd/MM/yyyy", "11/05/2019", 18_027 * DAY),
        ("dd-MMM-yyyy", "01-Jan-2022", 18_993 * DAY),
        ("dd-MMM-yyyy", "01-JAN-2022", 18_993 * DAY),
        ("MMM-yyyy", "JAN-2022", 18_993 * DAY),
        ("yyyyMMdd", "20180511", 17_662 * DAY),
        ("HH:mm:ss'Lit'", "00:01:05Lit", 65_000),
        ("HH/mm/ss", "11/05/19", 39_919_000),
        ("hh:mm:ss a", "01:00:00 PM", 46_800_000),
        ("hh:mm:ss a", "01:00:00 Pm", 46_800_000),
    ] {
        assert_eq!(ms(pattern, text), Ok(expected), "{text}");
    }
}

#[test]
fn ksqldb_cases_are_written() {
    let time = 1_526_075_913_000;
    for (pattern, zone, expected) in [
        (
            "yyyy-MM-dd HH:mm:ss zzz",
            "America/Los_Angeles",
            "2018-05-11 14:58:33 PDT",
        ),
        (
            "yyyy-MM-dd HH:mm:ss zzz",
            "Europe/London",
            "2018-05-11 22:58:33 BST",
        ),
        ("yyyy-MM-dd HH:mm:ss", "UTC", "2018-05-11 21:58:33"),
        (
            "yyyy-MM-dd'T'HH:mm:ss.SSS",
            "UTC",
            "2018-05-11T21:58:33.000",
        ),
    ] {
        assert_eq!(text(pattern, time, zone), expected);
    }
    assert_eq!(text("dd-MMM-yyyy", 18_993 * DAY, "UTC"), "01-Jan-2022");
    assert_eq!(text("dd-MM-yyyy'Sophia'", -DAY, "UTC"), "31-12-1969Sophia");
    assert_eq!(text("HH_mm_ss_SSS", 65_000, "UTC"), "00_01_05_000");
    assert_eq!(text("HHmmss'AAAAA'", 1_234_567, "UTC"), "002034AAAAA");
}

#[test]
fn every_letter_is_written() {
    let time = 1_526_075_913_045;
    for (pattern, expected) in [
        ("y yy yyy yyyy yyyyy", "2018 18 2018 2018 02018"),
        ("u uu uuuu G GGGG", "2018 18 2018 AD Anno Domini"),
        ("M MM MMM MMMM MMMMM L LLL", "5 05 May May M 5 May"),
        ("d dd D DDD", "11 11 131 131"),
        ("E EEEE EEEEE", "Fri Friday F"),
        ("H HH k K h hh a", "23 23 23 11 11 11 PM"),
        ("m mm s ss S SS SSS SSSSSS", "58 58 33 33 0 04 045 045000"),
        ("n A", "45000000 86313045"),
        ("X XX XXX XXXX XXXXX", "+02 +0200 +02:00 +0200 +02:00"),
        (
            "x xx xxx Z ZZZZ ZZZZZ O OOOO",
            "+02 +0200 +02:00 +0200 GMT+02:00 +02:00 GMT+2 GMT+02:00",
        ),
        (
            "VV z zzzz",
            "Europe/Paris CEST Central European Summer Time",
        ),
        ("'o''clock' '' [HH]", "o'clock ' 23"),
    ] {
        assert_eq!(text(pattern, time, "Europe/Paris"), expected);
    }
    let zero = "Z Z Z Z Z +00 +0000 +00:00 +0000 GMT Z GMT";
    assert_eq!(
        text("X XX XXX XXXX XXXXX x xx xxx Z ZZZZ ZZZZZ O", time, "UTC"),
        zero
    );
    assert_eq!(
        text("X XX XXX xx O", time, "+05:30"),
        "+0530 +0530 +05:30 +0530 GMT+5:30"
    );
    assert_eq!(text("k K h a", 1_526_083_200_000, "UTC"), "24 0 12 AM");
    assert_eq!(text("yyyy u G", -62_200_000_000_000, "UTC"), "0003 -2 BC");
    assert_eq!(text("yyyy", 253_402_300_800_000, "UTC"), "+10000");
}

#[test]
fn numbers_leave_digits_to_those_that_follow() {
    assert_eq!(
        ms("yyyyMMddHHmmssSSS", "20180511215833045"),
        Ok(1_526_075_913_045)
    );
    assert_eq!(
        ms("yyyyMMddHHmmss", "20180511215833"),
        Ok(1_526_075_913_000)
    );
    assert_eq!(ms("yyMMdd", "180511"), Ok(17_662 * DAY));
    assert_eq!(ms("yMMdd", "20180511"), Ok(17_662 * DAY));
    assert_eq!(ms("Hmm", "158"), Ok(118 * 60_000));
    assert_eq!(ms("Hmm", "2158"), Ok((21 * 60 + 58) * 60_000));
    assert_eq!(ms("yyyy-M-d", "2018-5-11"), Ok(17_662 * DAY));
    assert_eq!(ms("yyyy-M-d", "2018-05-11"), Ok(17_662 * DAY));
}

#[test]
fn what_is_left_out_is_from_1970() {
    assert_eq!(ms("yyyy", "1971"), Ok(365 * DAY));
    assert_eq!(ms("MM-dd", "01-02"), Ok(DAY));
    assert_eq!(ms("HH", "01"), Ok(3_600_000));
    assert_eq!(ms("hh", "12"), Ok(0));
    assert_eq!(ms("a", "PM"), Ok(DAY / 4 * 3));
    assert_eq!(ms("yyyy DDD", "2020 366"), Ok(18_627 * DAY));
    assert_eq!(ms("HH:mm[:ss][.SSS]", "00:01"), Ok(60_000));
    assert_eq!(ms("HH:mm[:ss][.SSS]", "00:01:02.003"), Ok(62_003));
    assert_eq!(ms("HH:mm[:ss[.SSS]]", "00:01:02"), Ok(62_000));
}

#[test]
fn calendar_corners_are_as_in_java() {
    assert_eq!(
        ms("yyyy-MM-dd", "2019-02-31"),
        ms("yyyy-MM-dd", "2019-02-28")
    );
    assert_eq!(
        ms("yyyy-MM-dd", "2020-02-30"),
        ms("yyyy-MM-dd", "2020-02-29")
    );
    assert_eq!(ms("yyyy-MM-dd HH:mm", "1970-01-01 24:00"), Ok(DAY));
    assert_eq!(ms("HH:mm", "24:00"), Ok(0));
    assert_eq!(ms("h a", "0 PM"), Ok(DAY / 2));
    assert_eq!(ms("k", "24"), Ok(0));
    assert_eq!(ms("yyyy-MM-dd", "+12018-05-11"), Ok(317_095_516_800_000));
    assert_eq!(
        ms("yyyy-MM-dd HH:mm:ss.SSSSSS", "1969-12-31 23:59:59.999999"),
        Ok(-1)
    );
    assert_eq!(ms("dd/MM/yy", "01/02/99"), Ok(4_073_587_200_000));
    assert_eq!(ms("y G", "1 BC"), ms("u", "0"));
    assert_eq!(
        ms(
            "EEE, d MMM yyyy HH:mm:ss Z",
            "Fri, 11 May 2018 21:58:33 +0000"
        ),
        Ok(1_526_075_913_000)
    );
    let paris = |text| {
        let zone = "Europe/Paris".parse().unwrap();
        Pattern::compile("yyyy-MM-dd HH:mm")
            .unwrap()
            .parse(text, zone)
    };
    // 02:30 does not exist, and is an hour after 01:30; 02:30 exists twice, and is the first.
    assert_eq!(
        paris("2021-03-28 02:30"),
        ms("yyyy-MM-dd HH:mm", "2021-03-28 01:30")
    );
    assert_eq!(
        paris("2021-10-31 02:30"),
        ms("yyyy-MM-dd HH:mm", "2021-10-31 00:30")
    );
}

#[test]
fn zones_and_offsets_are_read() {
    let time = ms("yyyy-MM-dd HH:mm", "2018-01-01 10:00").unwrap();
    for (pattern, suffix, hours) in [
        ("X", "+02", -2),
        ("X", "+0230", -2),
        ("XXX", "-05:00", 5),
        ("XX", "Z", 0),
        ("x", "+00", 0),
        ("Z", "+0100", -1),
        ("ZZZZZ", "Z", 0),
        ("O", "GMT+8", -8),
        ("OOOO", "GMT-08:00", 8),
        ("O", "GMT", 0),
        ("VV", "Europe/Paris", -1),
        ("VV", "america/los_angeles", 8),
        ("VV", "UTC+3", -3),
        ("VV", "Z", 0),
        ("VV", "-03:00", 3),
        ("z", "CET", -1),
        ("z", "est", 5),
        ("zzz", "UTC", 0),
        ("zzzz", "America/New_York", 5),
        ("zzzz", "pacific daylight time", 8),
        ("XXXXX", "+02:00:00", -2),
        ("O", "gmt-8:00", 8),
    ] {
        let pattern = Pattern::compile(&format!("yyyy-MM-dd HH:mm {pattern}")).unwrap();
        let half = if suffix == "+0230" { 1_800_000 } else { 0 };
        let text = format!("2018-01-01 10:00 {suffix}");
        let got = pattern.parse(&text, "Asia/Tokyo".parse().unwrap());
        assert_eq!(got, Ok(time + hours * 3_600_000 - half), "{text}");
    }
}

#[test]
fn what_does_not_match_is_said_with_its_place() {
    for (pattern, text, expected) in [
        (
            "yyyy-MM-dd",
            "not a timestamp",
            "expected a year at character 1",
        ),
        ("yyyy-MM-dd", "2018/05/11", "expected '-' at character 5"),
        ("yyyy-MM-dd", "2018-5-11", "expected a month at character 6"),
        ("yyyy-MM-dd", "2018-13-11", "a month 13 is not from 1 to 12"),
        (
            "yyyy-MM-dd",
            "2018-05-11 ",
            "expected the end at character 11",
        ),
        (
            "yyyy-MM-dd",
            "12018-05-11",
            "expected a year at character 1",
        ),
        ("HH:mm", "24:01", "24:00 is the end of the day"),
        ("d. MMM", "1. Foo", "expected a month's name at character 4"),
        ("é HH", "é x", "expected an hour at character 3"),
        ("HH a", "13 AM", "hour 13 is in the other half of the day"),
        ("EEE yyyy-MM-dd", "Mon 2018-05-11", "2018-05-11 is a Friday"),
        ("yyyy DDD", "2019 366", "2019 has no such day"),
        (
            "yyyy yyyy",
            "2019 2018",
            "a year is named twice and differs",
        ),
        ("X", "+1", "expected the hours of an offset at character 2"),
        ("X", "+19", "an offset has no 19 at character 2"),
        ("VV", "Mars/Olympus", "expected a time zone at character 1"),
        ("yyyy", "", "expected a year at character 1"),
    ] {
        let message = format!("'{text}' does not match '{pattern}': {expected}");
        assert_eq!(ms(pattern, text), Err(message));
    }
}

#[test]
fn bad_patterns_are_refused_in_javas_words() {
    for (pattern, expected) in [
        (
            "yyyy-MM-dd'T",
            "Pattern ends with an incomplete string literal: yyyy-MM-dd'T",
        ),
        ("ddd", "Too many pattern letters: d"),
        ("aa", "Too many pattern letters: a"),
        ("SSSSSSSSSS", "Too many pattern letters: S"),
        ("MMMMMM", "Too many pattern letters: M"),
        ("b", "Unknown pattern letter: b"),
        ("YYYY", "Pattern letter is not supported yet: Y"),
        ("{", "Pattern includes reserved character: '{'"),
        (
            "yyyy]",
            "Pattern invalid as it contains ] without previous [",
        ),
        ("V", "Pattern letter count must be 2: V"),
    ] {
        assert_eq!(Pattern::compile(pattern), Err(expected.into()), "{pattern}");
    }
}

#[test]
fn what_is_written_is_read_back() {
    let patterns = [
        "yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
        "uuuuMMddHHmmssSSSZ",
        "G y-D k.m.s.SSS x",
        "EEEE d MMMM y, hh:mm:ss.SSS a O",
        "yyyy-MM-dd A VV",
    ];
    let mut time = 1_526_075_913_045_i64;
    for i in 0..400_i64 {
        time = time
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let ms = (time >> 33) * 29 + i;
        for zone in ["UTC", "Europe/Paris", "-03:30"] {
            for pattern in patterns {
                // The zone alone does not tell the two hours apart in which clocks go back.
                let zone = if pattern.ends_with("VV") { "UTC" } else { zone };
                let compiled = Pattern::compile(pattern).unwrap();
                let text = compiled.format(ms, zone.parse().unwrap()).unwrap();
                assert_eq!(compiled.parse(&text, Zone::UTC), Ok(ms), "{text}");
            }
        }
    }
}

#[test]
fn nothing_panics() {
    let pieces = [
        "yyyy", "M", "dd", "[", "]", "'", "X", "é", "H", "-", "S", "n", "zzz", "VV", "GGGG", "u",
        "D",
    ];
    let texts = [
        "",
        "2018",
        "é",
        "-",
        "+99999999999999999999999",
        "٣",
        "\u{0}",
        "24:00",
        "Z",
        "GMT+",
        "PST",
        "2018-é5",
    ];
    for a in pieces {
        for b in pieces {
            for c in pieces {
                let Ok(pattern) = Pattern::compile(&format!("{a}{b}{c}")) else {
                    continue;
                };
                for text in texts {
                    let _ = pattern.parse(text, Zone::UTC);
                }
                for ms in [i64::MIN, i64::MAX, 0, -1, 8_000_000_000_000_000] {
                    let _ = pattern.format(ms, "Asia/Kathmandu".parse().unwrap());
                }
            }
        }
    }
}

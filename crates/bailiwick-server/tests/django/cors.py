"""Asks django-cors-headers what it makes of settings and requests.

Takes a JSON list of `{"settings": {...}, "method", "path", "headers": {...}}` on standard input, and prints one of
`{"refused": [ids of its checks]}` or `{"status", "headers": {...}}` for each, in the same order.
"""

import json
import sys

import django
from django.conf import settings
from django.http import HttpResponse
from django.test import Client, override_settings
from django.urls import re_path


def view(request):
    """What every path leads to: it has no OPTIONS, and nobody is logged in."""
    return HttpResponse(status=405 if request.method == "OPTIONS" else 401)


urlpatterns = [re_path("", view)]

settings.configure(
    ALLOWED_HOSTS=["testserver"],
    INSTALLED_APPS=["corsheaders"],
    MIDDLEWARE=["corsheaders.middleware.CorsMiddleware", "django.middleware.common.CommonMiddleware"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="of a test",
)
django.setup()

from corsheaders.checks import check_settings  # noqa: E402 (it needs the settings)


def answer(case):
    with override_settings(**case["settings"]):
        refused = [finding.id for finding in check_settings()]
        if refused:
            return {"refused": refused}
        response = Client().generic(case["method"], case["path"], headers=case["headers"])
        return {
            "status": response.status_code,
            "headers": {name.lower(): value for name, value in response.headers.items()},
        }


json.dump([answer(case) for case in json.load(sys.stdin)], sys.stdout)

"""The routes: the chapter's log-ins, and the tasks that the bench calls."""

from django.urls import path
from rest_framework.authtoken.views import obtain_auth_token
from rest_framework_simplejwt.views import TokenObtainPairView, TokenRefreshView

from tasks.views import TaskViewSet

urlpatterns = [
    path("api/v1/auth/token/", obtain_auth_token),
    path("api/v1/auth/jwt/", TokenObtainPairView.as_view()),
    path("api/v1/auth/jwt/refresh/", TokenRefreshView.as_view()),
    path(
        "api/v1/orgs/<slug:org>/tasks/",
        TaskViewSet.as_view({"get": "list", "post": "create"}),
    ),
    path(
        "api/v1/orgs/<slug:org>/tasks/<uuid:pk>/",
        TaskViewSet.as_view({"get": "retrieve"}),
    ),
]

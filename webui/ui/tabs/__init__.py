"""The tabs of the page, in their order; a new one is a file here and a line below."""

from webui.ui.tab import Tab
from webui.ui.tabs.admin import AdminTab
from webui.ui.tabs.chat import ChatTab
from webui.ui.tabs.model import ModelTab
from webui.ui.tabs.parameters import ParametersTab
from webui.ui.tabs.usage import UsageTab

TABS: tuple[type[Tab], ...] = (ChatTab, ModelTab, ParametersTab, UsageTab, AdminTab)

__all__ = ["TABS", "AdminTab", "ChatTab", "ModelTab", "ParametersTab", "UsageTab"]

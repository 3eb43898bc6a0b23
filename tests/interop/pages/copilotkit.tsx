// CopilotKit's chat calls an AG-UI agent directly, without a CopilotRuntime.
import { HttpAgent } from "@ag-ui/client";
import { CopilotChat, CopilotKitProvider } from "@copilotkit/react-core/v2";
import { createRoot } from "react-dom/client";

const agents = { default: new HttpAgent({ url: "/agui" }) };

createRoot(document.getElementById("root")!).render(
  <CopilotKitProvider selfManagedAgents={agents}>
    <CopilotChat />
  </CopilotKitProvider>,
);

// CopilotKit's chat with an AG-UI agent at its own address, without a CopilotRuntime between them.
import { HttpAgent } from "@ag-ui/client";
import { CopilotChat, CopilotKitProvider } from "@copilotkit/react-core/v2";
import { createRoot } from "react-dom/client";

const agents = { default: new HttpAgent({ url: "/agui" }) };

createRoot(document.getElementById("root")!).render(
  <CopilotKitProvider selfManagedAgents={agents}>
    <CopilotChat />
  </CopilotKitProvider>,
);
